"""What a streaming model holds and computes, layer by layer."""

import dataclasses
import math

import tensorflow as tf

from tfconv.streaming.table import table


@dataclasses.dataclass(frozen=True)
class State:
    """Frames of one tensor that are held from hop to hop.

    Attributes:
        name: string, the call site that they are held for, and the input's
            number after a colon if it holds several.
        shape: tuple, `(frames, channels)`, the oldest frame first.
        dtype: string, that of the tensor.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """For one stream."""
        return math.prod(self.shape) * tf.as_dtype(self.dtype).size


@dataclasses.dataclass(frozen=True)
class CallSite:
    """One call of a layer in a streaming model.

    A layer that the model calls twice has two.

    Attributes:
        name: string, the layer's name, after those of the models that it is
            nested in; later calls of the same layer end in `#2`, `#3`, ...
        kind: string, the layer's class.
        frames_in: int, frames of its first input that a hop brings; `None` if
            it gets the whole window anew at every hop.
        frames_out: int, frames that it makes per hop; `None` if it makes
            something of the whole window.
        states: tuple of `State`, its ring buffers.
        delay: int, how many of its newest input frames it does not use yet.
        macs_per_hop: int, multiply-accumulates of a hop, of convolutions and
            dense layers; `None` for other layers with matrices.
        macs_per_window: int, those of the whole-window model, likewise.
    """

    name: str
    kind: str
    frames_in: int | None
    frames_out: int | None
    states: tuple[State, ...]
    delay: int
    macs_per_hop: int | None
    macs_per_window: int | None

    @property
    def bytes(self) -> int:
        """Of its ring buffers, for one stream."""
        return sum(state.bytes for state in self.states)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a model goes frame by frame. `print(plan)` shows a table.

    Attributes:
        model: string, the model's name.
        window: int, frames of the whole-window model's inputs (N).
        hop: int, new frames per step.
        every_hop: bool. If `True`, what a step returns is what the model
            returns for the newest `window` frames, at every hop from
            `hops_until_full` on. If `False`, zeros of padding reach that far,
            and it is so at hop `hops_until_full` after a reset only: later
            hops see the frames before the window where the model sees zeros.
        delay: int, the newest frames that the outputs do not see yet, of
            the output for which it is the most.
        calls: tuple of `CallSite`, in the order in which they run.
    """

    model: str
    window: int
    hop: int
    every_hop: bool
    delay: int
    calls: tuple[CallSite, ...]

    @property
    def hops_until_full(self) -> int:
        """Steps from a reset to the first outputs of a full window."""
        return -(-self.window // self.hop)

    @property
    def states(self) -> tuple[State, ...]:
        """The ring buffers, in the order of `Stream.step`."""
        return tuple(state for call in self.calls for state in call.states)

    @property
    def state_bytes(self) -> int:
        """Of all ring buffers, for one stream."""
        return sum(call.bytes for call in self.calls)

    @property
    def macs_per_hop(self) -> int:
        """Multiply-accumulates of a step, where they are known."""
        return sum(call.macs_per_hop or 0 for call in self.calls)

    @property
    def macs_per_window(self) -> int:
        """Those of the whole-window model, likewise."""
        return sum(call.macs_per_window or 0 for call in self.calls)

    def __str__(self) -> str:
        return table(self)
