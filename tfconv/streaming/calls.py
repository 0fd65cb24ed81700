"""Calls of layers, what a stream does in their place, and what it refuses."""

import dataclasses
from collections.abc import Callable

import keras

from tfconv.streaming.errors import CannotStream
from tfconv.streaming.timeline import Timeline

_MIXING_ACTIVATIONS = ("softmax", "log_softmax", "sparsemax", "glu")
_ACTIVATION_LAYERS = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.ReLU,
)


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer or operation in the whole-window model.

    Attributes:
        operation: the layer or operation.
        args: its positional arguments, tensors as `KerasTensor`s of the whole
            window.
        kwargs: its keyword arguments, likewise.
        inputs: the `KerasTensor`s among the arguments.
        times: their timelines, all of them with frames.
        output: the first output, a `KerasTensor` of the whole window.
    """

    operation: keras.Operation
    args: tuple
    kwargs: dict
    inputs: list[keras.KerasTensor]
    times: list[Timeline]
    output: keras.KerasTensor

    @property
    def time(self) -> Timeline:
        return self.times[0]

    @property
    def rank(self) -> int:
        return len(self.inputs[0].shape)


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What the stream does in place of a call.

    Attributes:
        time: the output's timeline.
        hold: int, frames of earlier hops to put before the new ones of every
            input; if negative, new ones to drop at the front.
        function: what to call, with the operation's arguments, on the frames;
            `None` for the operation itself.
    """

    time: Timeline
    hold: int = 0
    function: Callable | None = None


def unknown(call: Call):
    """Refuses a call of which nothing is known."""
    if isinstance(
        call.operation, (keras.layers.RNN, keras.layers.Bidirectional)
    ):
        raise CannotStream(
            "a recurrent layer begins every window anew, at its start",
            "Use convolutions",
        )
    raise CannotStream(
        "it is not known to work frame by frame", "Use a layer that does"
    )


def refuse_activation(activation, rank: int) -> None:
    """Keras's activations work frame by frame; others may do anything."""
    if activation is None:
        return
    name = getattr(activation, "__name__", type(activation).__name__)
    module = getattr(activation, "__module__", "") or ""
    known = module.split(".")[0] in ("keras", "tensorflow")
    if not known or not (
        hasattr(keras.activations, name)
        or isinstance(activation, _ACTIVATION_LAYERS)
    ):
        raise CannotStream(
            f"its activation {name} is not known to work frame by frame",
            "Use one of `keras.activations`",
        )
    if rank < 3 and name in _MIXING_ACTIVATIONS:
        raise CannotStream(
            f"its activation {name} acts on the last axis, which is time",
            "Reshape the frames to (steps, channels) before it",
        )


def refuse_channels_first(layer) -> None:
    """Of a stream time is axis 1."""
    if getattr(layer, "data_format", None) == "channels_first":
        raise CannotStream(
            'its `data_format` is "channels_first"',
            'Build the model with `data_format="channels_last"`',
        )


def positive(axis, rank: int) -> list[int]:
    """`axis`, one or several, counted from the front."""
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return [axis % rank for axis in axes]
