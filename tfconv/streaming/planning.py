"""From a model of whole windows to the plan of the same, frame by frame."""

import math

import keras
import numpy as np

from tfconv.streaming import cost
from tfconv.streaming import rules
from tfconv.streaming import timeline
from tfconv.streaming.calls import Call
from tfconv.streaming.calls import Treatment
from tfconv.streaming.errors import CannotStream
from tfconv.streaming.errors import WrongHop
from tfconv.streaming.graph import as_functional
from tfconv.streaming.graph import masking_layer
from tfconv.streaming.graph import nodes
from tfconv.streaming.plans import CallSite
from tfconv.streaming.plans import Plan
from tfconv.streaming.plans import State
from tfconv.streaming.program import Input
from tfconv.streaming.program import Program
from tfconv.streaming.program import Signal
from tfconv.streaming.program import Step


def plan(model: keras.Model, hop: int, fallback: str | None = None) -> Plan:
    """How a model of whole windows goes frame by frame.

    The stream's newest frame is, in every tensor, the last frame of the window
    that ends now. Convolutions and poolings look back on ring buffers of
    earlier frames; poolings over all of time, and Flatten, on the rest of the
    window.

    Args:
        model: a functional or Sequential model whose inputs have a fixed
            number of time steps on axis 1, the same for all. Nested models
            and layers that are called several times may occur.
        hop: int, new frames per step. Whole multiples of the model's total
            stride, at most the window.
        fallback: `None` to refuse a model with a layer that cannot go frame by
            frame. `"buffer"` to hold the whole window at that layer's inputs,
            and to run the layer, and what comes after, on all of it at every
            hop.

    Returns:
        A `Plan`: ring buffers, frames and costs of every layer.

    Raises:
        TypeError: if `model` is not a Keras model.
        ValueError: if `model` is neither functional nor Sequential, if `hop` is
            out of its range, or, naming the layer, if one cannot stream.

    Example:

    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((49, 10)),
    ...         tfconv.SeparableConv1D(16, 5, strides=2, name="mix"),
    ...         keras.layers.GlobalAveragePooling1D(name="pool"),
    ...     ],
    ...     name="spotter",
    ... )
    >>> plan = tfconv.streaming.plan(model, hop=2)
    >>> [(state.name, state.shape) for state in plan.states]
    [('mix', (3, 10)), ('pool', (22, 16))]
    >>> plan.macs_per_window / plan.macs_per_hop
    23.0
    """
    return program(model, hop, fallback).plan


def program(model: keras.Model, hop: int, fallback: str | None) -> Program:
    """The plan with all that is needed to run it; see `plan`."""
    if fallback not in (None, "buffer"):
        raise ValueError(
            'The `fallback` argument must be None or "buffer". '
            f"Received: fallback={fallback!r}"
        )
    window = _window(as_functional(model))
    hop = _checked_hop(hop, window)
    try:
        return _program(model, window, hop, fallback)
    except _Refused as refused:
        error = refused.error
        if isinstance(error, WrongHop):
            error = _allowed_hops(model, window, error)
        message = _cannot_stream(refused.name, refused.call, error)
        raise ValueError(message) from None


class _Refused(Exception):
    """A call that cannot stream, and the `CannotStream` that says why."""

    def __init__(self, name: str, call: Call, error: CannotStream):
        super().__init__(name)
        self.name, self.call, self.error = name, call, error


def _allowed_hops(model, window: int, error: WrongHop) -> CannotStream:
    """The same error, with the hops that all layers allow."""
    multiple = error.multiple
    while True:
        try:
            _program(model, window, multiple, None)
            break
        except _Refused as refused:
            if not isinstance(refused.error, WrongHop):
                break
            multiple = math.lcm(multiple, refused.error.multiple)
        except ValueError:
            break
    if multiple > window:
        return CannotStream(
            error.reason,
            f"All strides together need a hop of {multiple} input frames, and "
            f"the window has {window}: use smaller strides",
        )
    return WrongHop(error.reason, multiple)


def _program(model, window: int, hop: int, fallback: str | None) -> Program:
    functional = as_functional(model)
    buffered = set()
    while True:
        planner = _Planner(fallback, buffered)
        inputs = [
            planner.signal(_example(tensor), timeline.start(window, hop))
            for tensor in functional.inputs
        ]
        outputs = planner.walk(functional, inputs, prefix="")
        parted = [
            planner.parted[signal.slot]
            for signal in outputs
            if not (signal.time.every_hop or signal.time.from_reset)
        ]
        if not parted:
            break
        name, kind = parted[0]
        if fallback is None or name in buffered:
            raise ValueError(_never_equal(name, kind, hop, window))
        buffered.add(name)
    return Program(
        plan=Plan(
            model=model.name,
            window=window,
            hop=hop,
            every_hop=all(signal.time.every_hop for signal in outputs),
            delay=max(signal.time.delay for signal in outputs),
            calls=tuple(step.row for step in planner.steps if step.row),
        ),
        steps=tuple(planner.steps),
        inputs=tuple(inputs),
        outputs=tuple(signal.slot for signal in outputs),
    )


class _Planner:
    """Collects the steps of one walk over a model.

    Attributes:
        steps: list of `Step`.
        parted: dict from a tensor's slot to the name and class of the call at
            which the stream and the windows part for good.
    """

    def __init__(self, fallback: str | None, buffered: set[str]):
        self.steps = []
        self.parted = {}
        self._fallback = fallback
        self._buffered = buffered
        self._slots = 0
        self._calls = {}

    def signal(self, window: keras.KerasTensor, time) -> Signal:
        self._slots += 1
        return Signal(self._slots - 1, window, time)

    def walk(self, functional, inputs: list[Signal], prefix: str):
        """Adds the steps of a model; returns its outputs' signals."""
        masking = masking_layer(functional)
        if masking and self._fallback is None:
            # Its mask is made by operations with names that nobody gave.
            raise ValueError(
                f"Layer '{prefix}{masking}' (of type Masking) cannot stream: "
                "it makes a mask. Build the model without, or use "
                '`fallback="buffer"`.'
            )
        signals = {
            id(tensor): self._cast(signal, tensor)
            for tensor, signal in zip(functional.inputs, inputs, strict=True)
        }
        for node in nodes(functional):
            tensors = {id(tensor): tensor for tensor in node.input_tensors}
            taken = {key: signals[key] for key in tensors}
            name = self._name(prefix, node.operation)
            nested = as_functional(node.operation, nested=True)
            if nested is None:
                made = self._call(name, node, taken)
            else:
                _refuse_nested_arguments(name, node)
                flat = [signals[id(t)] for t in node.input_tensors]
                made = self.walk(nested, flat, f"{name}/")
            for tensor, signal in zip(node.outputs, made, strict=True):
                signals[id(tensor)] = signal
        return [signals[id(tensor)] for tensor in functional.outputs]

    def _name(self, prefix: str, operation) -> str:
        name = f"{prefix}{operation.name}"
        self._calls[name] = self._calls.get(name, 0) + 1
        count = self._calls[name]
        return name if count == 1 else f"{name}#{count}"

    def _call(self, name: str, node, taken: dict[int, Signal]):
        operation = node.operation
        windows = {key: signal.window for key, signal in taken.items()}
        args, kwargs = node.arguments.fill_in(windows)
        outputs = keras.tree.flatten(
            operation.compute_output_spec(*args, **kwargs)
        )
        call = Call(
            operation,
            args,
            kwargs,
            list(windows.values()),
            [signal.time for signal in taken.values()],
            outputs[0],
        )
        treatment, holds = self._treatment(name, call)
        function = treatment.function or operation
        inputs = tuple(
            Input(signal.slot, key, hold)
            for (key, signal), hold in zip(taken.items(), holds, strict=True)
        )
        made = [self.signal(output, treatment.time) for output in outputs]
        self.steps.append(
            Step(
                function,
                node.arguments,
                inputs,
                tuple(signal.slot for signal in made),
                _row(name, call, list(taken.values()), holds, made[0]),
            )
        )
        self._note_parting(name, call, taken, made)
        return made

    def _treatment(self, name: str, call: Call):
        whole = [time.frames is None for time in call.times]
        try:
            if all(whole):
                time = timeline.join(call.times, keeps_zeros=True)
                return Treatment(time), [0] * len(whole)
            if name in self._buffered:
                raise CannotStream("", "")
            if any(whole):
                raise CannotStream(
                    "some of its inputs are made of the whole window, and "
                    "others come frame by frame",
                    "Let all be of one kind",
                )
            treatment = rules.treatment(call)
        except CannotStream as error:
            if self._fallback is None:
                raise _Refused(name, call, error) from None
            return _buffered(call)
        return treatment, [treatment.hold] * len(whole)

    def _note_parting(self, name, call, taken, made) -> None:
        time = made[0].time
        parted = [
            self.parted[signal.slot]
            for signal in taken.values()
            if signal.slot in self.parted
        ]
        if not parted and not time.from_reset and not time.untouched:
            parted = [(name, type(call.operation).__name__)]
        if parted:
            self.parted.update((signal.slot, parted[0]) for signal in made)

    def _cast(self, signal: Signal, tensor: keras.KerasTensor) -> Signal:
        """What a model does to inputs of another dtype than its own."""
        if signal.window.dtype == tensor.dtype:
            return signal
        dtype = tensor.dtype
        window = keras.KerasTensor(signal.window.shape, dtype=dtype)
        made = self.signal(window, signal.time)
        self.steps.append(
            Step(
                lambda inputs: keras.ops.cast(inputs, dtype),
                _OneArgument(),
                (Input(signal.slot, key=0),),
                (made.slot,),
                row=None,
            )
        )
        return made


class _OneArgument:
    """The arguments of a call that the model's graph does not hold."""

    def fill_in(self, tensors: dict):
        return tuple(tensors.values()), {}


def _buffered(call: Call):
    """The call on the whole window, of which old frames are held."""
    times, holds = [], []
    for time in call.times:
        hold = 0
        if time.frames is not None:
            time, hold = timeline.gather(time)
        times.append(time)
        holds.append(hold)
    return Treatment(timeline.join(times, keeps_zeros=True)), holds


def _row(name, call, signals, holds, output: Signal) -> CallSite:
    first = signals[0]
    states = [
        (signal, hold)
        for signal, hold in zip(signals, holds, strict=True)
        if hold > 0
    ]
    shapes = [(first.window.shape[1:], output.window.shape[1:])]
    shapes.append((first.example_shape, output.example_shape))
    window, per_hop = (
        cost.multiply_accumulates(call.operation, *pair) for pair in shapes
    )
    delay = output.time.delay - max(signal.time.delay for signal in signals)
    return CallSite(
        name=name,
        kind=type(call.operation).__name__,
        frames_in=first.time.frames,
        frames_out=output.time.frames,
        states=tuple(
            State(
                name if len(states) == 1 else f"{name}:{index}",
                (hold, *signal.window.shape[2:]),
                signal.window.dtype,
            )
            for index, (signal, hold) in enumerate(states)
        ),
        delay=delay // first.time.stride,
        macs_per_hop=per_hop,
        macs_per_window=window,
    )


def _example(tensor: keras.KerasTensor) -> keras.KerasTensor:
    return keras.KerasTensor((None, *tensor.shape[1:]), dtype=tensor.dtype)


def _window(functional) -> int:
    steps = {}
    for tensor in functional.inputs:
        if len(tensor.shape) < 2 or None in tensor.shape[1:]:
            raise ValueError(
                "A streaming plan needs inputs of a fixed shape (batch, steps, "
                "...): build the model with keras.Input((steps, channels)). "
                f"Received: input '{tensor.name}' of shape {tensor.shape}"
            )
        steps[tensor.name] = tensor.shape[1]
    if len(set(steps.values())) != 1:
        raise ValueError(
            "The inputs of a streaming model must have the same number of time "
            f"steps. Received: {steps}"
        )
    return next(iter(steps.values()))


def _checked_hop(hop, window: int) -> int:
    integer = isinstance(hop, (int, np.integer)) and not isinstance(hop, bool)
    if not integer or not 1 <= hop <= window:
        raise ValueError(
            "The `hop` argument must be an integer from 1 to the number of "
            f"frames in a window, {window}. Received: hop={hop!r}"
        )
    return int(hop)


def _refuse_nested_arguments(name: str, node) -> None:
    given = {
        key: value
        for key, value in node.arguments.kwargs.items()
        if key in ("mask", "training") and value
    }
    if given:
        raise ValueError(
            f"Model '{name}' cannot stream, because it is called with "
            f"arguments. Build the model without. Received: {given}"
        )


def _cannot_stream(name: str, call: Call, error: CannotStream) -> str:
    lengths = [time.window for time in call.times if time.frames is not None]
    return (
        f"Layer '{name}' (of type {type(call.operation).__name__}) cannot "
        f"stream: {error.reason}. {error.remedy}, or hold the whole window, "
        f"{' + '.join(map(str, lengths))} frames, at its inputs with "
        '`fallback="buffer"`.'
    )


def _never_equal(name: str, kind: str, hop: int, window: int) -> str:
    reason = (
        f"hop={hop} does not divide the window of {window} frames, so that no "
        f"hop ends one window after a reset. Choose a hop that divides {window}"
    )
    if window % hop == 0:
        reason = (
            "the stream has other frames there, which layers before it made "
            "of the frames before the window or crop. Use "
            '`padding="causal"` in all layers or in none'
        )
    return (
        f"Layer '{name}' (of type {kind}) cannot stream: it sees zeros of "
        f"padding at the start of every window, and {reason}, or hold the "
        'whole window at its inputs with `fallback="buffer"`.'
    )
