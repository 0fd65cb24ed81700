"""The alignment of a stream with the windows of the model it comes from.

Of every tensor, the stream's newest frame is the last frame of the window that
ends now. A layer that looks over several frames finds those of earlier hops in
a ring buffer in front of the new ones. How many it needs depends on the frames
that the layer leaves unused at the end of its window, and so on the window's
length.
"""

import dataclasses

from tfconv.streaming.errors import WrongHop


@dataclasses.dataclass(frozen=True)
class Timeline:
    """How one tensor lies in time.

    Attributes:
        frames: int, the frames that a hop brings; `None` if the tensor is
            made anew from the whole window at every hop.
        window: int, the frames of the whole window; `None` likewise.
        stride: int, input frames from one frame to the next.
        delay: int, the newest input frames that the newest frame does not see.
        settled: int, how many of the window's newest frames no zeros of
            padding reach. These are the stream's at every hop, once it has
            been fed with one window. With `frames=None`, 0 or 1.
        hops: int, the hops in one window; `None` if the hop does not divide it.
        from_reset: bool, whether the window that begins at a reset is the
            stream's, with zeros where it reaches back beyond the reset.
    """

    frames: int | None
    window: int | None
    stride: int = 1
    delay: int = 0
    settled: int = 0
    hops: int | None = None
    from_reset: bool = False

    @property
    def every_hop(self) -> bool:
        """Whether a hop's frames are the window's at every hop."""
        if self.frames is None:
            return bool(self.settled)
        return self.settled >= min(self.frames, self.window)

    @property
    def untouched(self) -> bool:
        """Whether no zeros of padding reach any frame of the window."""
        return self.settled >= (1 if self.frames is None else self.window)

    @property
    def made(self) -> int:
        """Frames that a stream makes from a reset to the first full window."""
        return (self.hops or 0) * self.frames


def start(window: int, hop: int) -> Timeline:
    """The timeline of a model's input: windows of so many frames."""
    hops = None if window % hop else window // hop
    return Timeline(
        frames=hop,
        window=window,
        settled=window,
        hops=hops,
        from_reset=hops is not None,
    )


def slide(
    time: Timeline, span: int, strides: int, left: int
) -> tuple[Timeline, int]:
    """The outputs of windows that span some frames, after padding.

    Args:
        time: the inputs' timeline.
        span: int, frames from a window's first to its last: for a convolution
            the effective kernel size.
        strides: int, frames from one window to the next.
        left: int, zeros that the layer puts before the inputs: `span - 1` with
            `padding="causal"`, none with `"valid"`.

    Returns:
        The outputs' timeline, and how many frames of earlier hops to hold; if
        negative, how many of the new frames to drop at the front.

    Raises:
        WrongHop: if a hop does not bring a whole number of outputs.
    """
    if time.frames % strides:
        raise WrongHop(
            f"it strides by {strides} and gets {time.frames} frames per hop",
            strides * time.stride,
        )
    unused = (time.window + left - span) % strides
    frames = time.frames // strides
    window = (time.window + left - span) // strides + 1
    outputs = dataclasses.replace(
        time,
        frames=frames,
        window=window,
        stride=time.stride * strides,
        delay=time.delay + unused * time.stride,
        settled=max(0, (time.settled - unused - span) // strides + 1),
        from_reset=time.from_reset
        and (not left or time.made <= time.window)
        and window <= time.hops * frames,
    )
    return outputs, span - strides + unused


def crop(time: Timeline, left: int, right: int) -> tuple[Timeline, int]:
    """The window without its ends, and how many frames to hold for that."""
    outputs = dataclasses.replace(
        time,
        window=time.window - left - right,
        delay=time.delay + right * time.stride,
        settled=max(0, min(time.settled, time.window - left) - right),
    )
    return outputs, right


def pad(time: Timeline, left: int) -> Timeline:
    """The window with zeros before it, which a reset stream has by itself."""
    return dataclasses.replace(
        time,
        window=time.window + left,
        from_reset=time.from_reset and time.made <= time.window,
    )


def gather(time: Timeline) -> tuple[Timeline, int]:
    """The whole window at once, and how many frames to hold for that.

    If the number of frames is negative, so many new ones are dropped instead.
    """
    return _whole(time, time.untouched), time.window - time.frames


def pick(time: Timeline, back: int) -> tuple[Timeline, int]:
    """The frame so many before the newest, and how many to hold for that."""
    outputs = _whole(time, time.settled > back)
    delay = time.delay + back * time.stride
    return (
        dataclasses.replace(outputs, delay=delay),
        max(0, back + 1 - time.frames),
    )


def join(times: list[Timeline], keeps_zeros: bool) -> Timeline:
    """What is computed frame by frame from tensors that lie alike in time.

    Args:
        times: the inputs' timelines, with the same frames and window.
        keeps_zeros: bool, whether frames of zeros make a frame of zeros.
    """
    first = times[0]
    from_reset = all(time.from_reset for time in times)
    if from_reset and first.frames is not None and not keeps_zeros:
        from_reset = first.window <= first.made
    return dataclasses.replace(
        first,
        delay=max(time.delay for time in times),
        settled=min(time.settled for time in times),
        from_reset=from_reset,
    )


def _whole(time: Timeline, settled: bool) -> Timeline:
    """What is made anew of the whole window at every hop."""
    return dataclasses.replace(
        time,
        frames=None,
        window=None,
        settled=int(settled),
        from_reset=time.from_reset or settled,
    )
