"""A streaming file on a live signal."""

import os

import numpy as np

from tfconv_export import bounded
from tfconv_export import flatbuffer
from tfconv_export import streaming_mark
from tfconv_export import trial
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason
from tfconv_export.runtimes import KERNELS
from tfconv_export.runtimes import LiteRT

_SECONDS_TO_START = 20


class StreamingInterpreter:
    """Runs a streaming file on a signal that comes in pieces of any length.

    The states are kept here, as the file gives them, or in the file, if it
    holds them itself: each instance has its own. See
    `tfconv_export.export_streaming`, which writes such files.

    Args:
        path: of the file.
        kernels: string, `"xnnpack"`, `"builtin"` or `"reference"`.

    Attributes:
        hop: int, how many frames the file takes at once.

    Raises:
        UsageError: if there is no such file, or it is not a streaming one, or
            there are no such kernels.

    Example:

    >>> interpreter = tfconv_export.StreamingInterpreter("stream.tflite")
    >>> interpreter.hop
    2
    >>> interpreter.feed(np.zeros((5, 40), "float32")).shape  # two whole hops
    (2, 12)
    >>> interpreter.feed(np.zeros((1, 40), "float32")).shape  # and the third
    (1, 12)
    """

    def __init__(self, path: "os.PathLike | str", kernels: str = "xnnpack"):
        if kernels not in KERNELS:
            raise UsageError(
                f"kernels={kernels!r} is unknown; it must be one of "
                f"{', '.join(KERNELS)}."
            )
        content = bounded.read(path, str(path))
        # Before LiteRT, which believes what a file says of itself.
        facts = flatbuffer.read_foreign(content, str(path))
        if streaming_mark.NAME not in facts.metadata:
            raise UsageError(
                f"{path} is not a streaming file of tfconv; write one with "
                "tfconv_export.export_streaming."
            )
        signum = trial.crash(
            lambda: self._start(content, kernels), _SECONDS_TO_START
        )
        if signum is not None:
            raise UsageError(
                f"{path} is a damaged streaming file: LiteRT ends with "
                f"{signum}; copy or export it again."
            )
        try:
            self._start(content, kernels)
        except Exception as error:  # whatever the bytes lead LiteRT to
            raise UsageError(
                f"{path} is no streaming file that LiteRT can run: "
                f"{reason(error)}."
            ) from error

    def _start(self, content: bytes, kernels: str) -> None:
        """Loads the file, and runs it on two hops of silence.

        Raises:
            ValueError or another: if the file is damaged.
        """
        self._states = streaming_mark.read(content)
        self._runtime = LiteRT(content, kernels)
        inputs, outputs = self._runtime.inputs, self._runtime.outputs
        self._frames = {
            name: details
            for name, details in inputs.items()
            if name not in self._states
        }
        self._outputs = [
            name for name in outputs if name not in self._states.values()
        ]
        if not self._frames or not self._outputs:
            raise ValueError("it takes or gives nothing but states")
        # All inputs have one rate.
        frames = next(iter(self._frames.values()))
        self.hop = int(frames["shape"][1])
        self.reset()
        self.feed(
            {
                name: np.zeros((2 * self.hop, *details["shape"][2:]))
                for name, details in self._frames.items()
            }
        )
        self.reset()

    def reset(self) -> None:
        """Forgets all frames: the next ones are the first of a signal."""
        self._runtime.reset()
        self._held = {
            name: np.full(details["shape"], details["quantization"][1]).astype(
                details["dtype"]
            )
            for name, details in self._runtime.inputs.items()
            if name in self._states
        }
        self._waiting = {
            name: np.empty((0, *details["shape"][2:]), np.float32)
            for name, details in self._frames.items()
        }

    def feed(
        self, frames: "np.ndarray | dict[str, np.ndarray]"
    ) -> "np.ndarray | dict[str, np.ndarray]":
        """Takes the next frames, as many as there are.

        Those that make no whole hop wait for the next call.

        Args:
            frames: array of shape `(n, channels)`, real numbers; a dict of
                them by input, of the same n, where there are several.

        Returns:
            Array of shape `(hops, *output shape)`, real numbers, for each
            whole hop the output; a dict of them by output where there are
            several. Until a whole window was fed since the start, the outputs
            are those of a window that begins with zeros inside of the network.

        Raises:
            UsageError: if the frames are of another shape, or are no finite
                numbers, which would stay in the states.
        """
        if not isinstance(frames, dict):
            if len(self._frames) > 1:
                raise UsageError(
                    "The file has several inputs; give a dict of frames for "
                    f"{', '.join(self._frames)}."
                )
            frames = dict.fromkeys(self._frames, frames)
        if set(frames) != set(self._frames):
            raise UsageError(
                f"The frames are of {', '.join(frames)}; the file takes "
                f"{', '.join(self._frames)}."
            )
        arrays = {
            name: _as_numbers(name, value) for name, value in frames.items()
        }
        for name, array in arrays.items():
            wanted = self._waiting[name].shape[1:]
            if not array.size:
                arrays[name] = array = np.empty((0, *wanted), np.float32)
            if array.ndim == 0 or array.shape[1:] != wanted:
                shape = ", ".join(map(str, ("n", *wanted)))
                raise UsageError(
                    f"The frames of {name} have the shape {array.shape}; "
                    f"({shape}) is needed."
                )
        if len({len(array) for array in arrays.values()}) > 1:
            raise UsageError(
                "The inputs must get the same number of frames. Received: "
                + ", ".join(f"{len(a)} of {name}" for name, a in arrays.items())
            )
        for name, array in arrays.items():
            self._waiting[name] = np.concatenate([self._waiting[name], array])
        hops = len(next(iter(self._waiting.values()))) // self.hop
        found = {name: [] for name in self._outputs}
        for _ in range(hops):
            for name, values in self._step().items():
                found[name].append(values)
        stacked = {
            name: np.stack(values)
            if values
            else np.empty(
                (0, *self._runtime.outputs[name]["shape"][1:]), np.float32
            )
            for name, values in found.items()
        }
        return stacked if len(stacked) > 1 else next(iter(stacked.values()))

    def _step(self) -> dict[str, np.ndarray]:
        new = {
            name: waiting[np.newaxis, : self.hop]
            for name, waiting in self._waiting.items()
        }
        self._waiting = {
            name: waiting[self.hop :] for name, waiting in self._waiting.items()
        }
        made = self._runtime.invoke(self._runtime.stored(new) | self._held)
        self._held = {
            name: made[output].copy() for name, output in self._states.items()
        }
        real = self._runtime.real({name: made[name] for name in self._outputs})
        return {name: values[0].copy() for name, values in real.items()}


def _as_numbers(name: str, values) -> np.ndarray:
    try:
        array = np.asarray(values)
        if np.isrealobj(array) and np.isfinite(array).all():
            return array
    except (TypeError, ValueError):
        pass  # Rows of several lengths, or no numbers at all.
    raise UsageError(f"The frames of {name} must be real, finite numbers.")
