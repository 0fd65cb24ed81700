"""A model's call sites in the order in which a stream runs them."""

import dataclasses
from collections.abc import Callable

import keras

from tfconv.streaming import plans
from tfconv.streaming.timeline import Timeline


@dataclasses.dataclass(frozen=True)
class Signal:
    """One tensor of the model.

    Attributes:
        slot: int, its number in the program.
        window: a `KerasTensor`, the tensor in the whole-window model.
        time: its timeline.
    """

    slot: int
    window: keras.KerasTensor
    time: Timeline

    @property
    def example_shape(self) -> tuple[int, ...]:
        """At one hop, without the batch."""
        shape = tuple(self.window.shape[1:])
        if self.time.frames is None:
            return shape
        return (self.time.frames, *shape[1:])


@dataclasses.dataclass(frozen=True)
class Input:
    """One input of a call site.

    Attributes:
        slot: int, the tensor's number.
        key: int, the id of the `KerasTensor` that stands for it in the call's
            arguments.
        hold: int, frames of earlier hops to put before the new ones; if
            negative, new ones to drop at the front.
    """

    slot: int
    key: int
    hold: int = 0


@dataclasses.dataclass(frozen=True)
class Step:
    """One call of a streaming model, and the row of the plan for it.

    Attributes:
        function: what is called.
        arguments: the call's arguments in the model, with a `fill_in`.
        inputs: tuple of `Input`.
        outputs: tuple of int, the tensors that it makes.
        row: its `CallSite`; `None` if the model makes no such call.
    """

    function: Callable
    arguments: object
    inputs: tuple[Input, ...]
    outputs: tuple[int, ...]
    row: plans.CallSite | None


@dataclasses.dataclass(frozen=True)
class Program:
    """What `plan` and `Stream` are made of.

    Attributes:
        plan: the plan.
        steps: tuple of `Step`.
        inputs: tuple of `Signal`, the model's inputs.
        outputs: tuple of int, the tensors that the model returns.
    """

    plan: plans.Plan
    steps: tuple[Step, ...]
    inputs: tuple[Signal, ...]
    outputs: tuple[int, ...]
