"""What each kind of layer does on a stream, or why it cannot go on one."""

import dataclasses
from collections.abc import Callable

import keras

from tfconv import layers
from tfconv import ops
from tfconv.streaming import timeline
from tfconv.streaming.errors import CannotStream
from tfconv.streaming.timeline import Timeline
from tfconv.streaming.twins import without_padding

_ANOTHER_LAYER = "Use a layer that works frame by frame"
_OPERATION_MODULES = ("keras.src.ops.", "keras.src.activations.")
_MIXING_ACTIVATIONS = ("softmax", "log_softmax", "sparsemax", "glu")


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


def treatment(call: Call) -> Treatment:
    """How a call goes on a stream.

    Raises:
        CannotStream: if it does not.
    """
    if call.kwargs.get("training"):
        raise CannotStream(
            "it is called with training=True", "Build the model without"
        )
    if call.kwargs.get("mask") is not None:
        raise CannotStream("it takes a mask", "Build the model without")
    operation = call.operation
    rule = _LAYERS.get(type(operation))
    if type(operation).__module__.startswith(_OPERATION_MODULES):
        rule = _OPERATIONS.get(type(operation).__name__)
    if rule is None:
        rule = _unknown
    return rule(call)


def _unknown(call: Call) -> Treatment:
    if isinstance(
        call.operation, (keras.layers.RNN, keras.layers.Bidirectional)
    ):
        raise CannotStream(
            "a recurrent layer begins every window anew, at its start",
            "Use convolutions",
        )
    raise CannotStream("it is not known to work frame by frame", _ANOTHER_LAYER)


def _convolution(call: Call) -> Treatment:
    layer = call.operation
    _refuse_activation(layer.activation, call.rank)
    _refuse_channels_first(layer)
    geometry = ops.Geometry(
        layer.kernel_size[0],
        layer.strides[0],
        layer.padding,
        layer.dilation_rate[0],
    )
    time, hold = _windows(call, geometry)
    function = None if layer.padding == "valid" else without_padding(layer)
    return Treatment(time, hold, function)


def _pooling(call: Call) -> Treatment:
    layer = call.operation
    _refuse_channels_first(layer)
    geometry = ops.Geometry(
        _first(layer.pool_size), _first(layer.strides), layer.padding
    )
    time, hold = _windows(call, geometry)
    function = None if layer.padding == "valid" else without_padding(layer)
    return Treatment(time, hold, function)


def _windows(call: Call, geometry: ops.Geometry) -> tuple[Timeline, int]:
    left, right = geometry.pads(call.time.window)
    if right or (left and geometry.padding == "same"):
        raise CannotStream(
            '`padding="same"` puts zeros after the window, where the next hop '
            "brings frames",
            'Use `padding="causal"` or `padding="valid"` and train again',
        )
    return timeline.slide(
        call.time, geometry.effective_kernel_size, geometry.strides, left
    )


def _gathered(call: Call) -> Treatment:
    _refuse_channels_first(call.operation)
    return Treatment(*timeline.gather(call.time))


def _reduction(call: Call) -> Treatment:
    axis = call.operation.axis
    if axis is None:
        return _unknown(call)
    axes = _positive(axis, call.rank)
    if 1 in axes:
        return Treatment(*timeline.gather(call.time))
    return _channels(call)


def _cropping(call: Call) -> Treatment:
    return _cropped(call, *call.operation.cropping)


def _cropped(call: Call, left: int, right: int, key=()) -> Treatment:
    time, hold = timeline.crop(call.time, left, right)
    frames = call.time.frames

    def function(inputs, *args, **kwargs):
        return inputs[(slice(None), slice(frames), *key)]

    return Treatment(time, hold, function)


def _zero_padding(call: Call) -> Treatment:
    left, right = call.operation.padding
    _refuse_channels_first(call.operation)
    if right:
        raise CannotStream(
            "it puts zeros after the window, where the next hop brings frames",
            f"Pad the start only, with ({left + right}, 0), and train again",
        )
    return Treatment(
        timeline.pad(call.time, left), function=lambda inputs: inputs
    )


def _slicing(call: Call) -> Treatment:
    key = call.args[1] if len(call.args) > 1 else call.kwargs["key"]
    key = tuple(key) if isinstance(key, (tuple, list)) else (key,)
    plain = all(isinstance(part, (slice, int)) for part in key)
    if not plain or key[0] != slice(None) or len(key) > call.rank:
        return _unknown(call)
    window = call.time.window
    over_time = key[1] if len(key) > 1 else slice(None)
    if isinstance(over_time, int):
        back = window - 1 - range(window)[over_time]
        time, hold = timeline.pick(call.time, back)
        position = call.time.frames + hold - 1 - back
        return Treatment(
            time,
            hold,
            lambda inputs, *args, **kwargs: inputs[
                (slice(None), position, *key[2:])
            ],
        )
    start, stop, step = over_time.indices(window)
    if step != 1:
        return _unknown(call)
    return _cropped(call, start, window - stop, key[2:])


def _reshape(call: Call) -> Treatment:
    if call.output.shape[1] != call.time.window:
        raise CannotStream(
            "it mixes time with other axes",
            f"Keep the time axis, of {call.time.window} frames, as it is, or "
            "use Flatten",
        )
    shape = (-1, call.time.frames, *call.output.shape[2:])
    return Treatment(
        timeline.join(call.times, keeps_zeros=True),
        function=lambda inputs, *args, **kwargs: keras.ops.reshape(
            inputs, shape
        ),
    )


def _elementwise(call: Call) -> Treatment:
    """Element by element, where zeros may become something else."""
    return _joined(call, keeps_zeros=False)


def _identity(call: Call) -> Treatment:
    """Element by element, where zeros stay zeros."""
    return _joined(call, keeps_zeros=True)


def _joined(call: Call, keeps_zeros: bool) -> Treatment:
    for argument in keras.tree.flatten((call.args, call.kwargs)):
        shape = getattr(argument, "shape", ())
        if isinstance(argument, keras.KerasTensor) or len(shape) < (
            call.rank - 1
        ):
            continue
        keeps_zeros = False
        if shape[1 - call.rank] != 1:
            raise CannotStream(
                f"a constant of shape {tuple(shape)} differs from frame to "
                "frame",
                "Use a constant of one value, or of one for every channel",
            )
    alike = {
        (time.frames, time.window, len(tensor.shape))
        for time, tensor in zip(call.times, call.inputs, strict=True)
    }
    if len(alike) > 1:
        frames = [time.frames for time in call.times]
        windows = [time.window for time in call.times]
        raise CannotStream(
            f"its inputs have {frames} frames per hop and {windows} in a "
            "window",
            "Let all have the same",
        )
    return Treatment(timeline.join(call.times, keeps_zeros))


def _arithmetic(call: Call) -> Treatment:
    return _joined(call, keeps_zeros=len(call.inputs) > 1)


def _concatenation(call: Call) -> Treatment:
    axis = call.operation.axis
    if 1 in _positive(axis, call.rank):
        raise CannotStream(
            f"it concatenates over time (axis={axis})",
            "Concatenate over channels",
        )
    return _arithmetic(call)


def _channels(call: Call) -> Treatment:
    """Frame by frame, of which the last axis must not be time."""
    if call.rank < 3:
        raise CannotStream(
            f"it acts on the last axis, which is time in "
            f"{call.inputs[0].shape}",
            "Reshape the frames to (steps, channels) before it",
        )
    return _elementwise(call)


def _dense(call: Call) -> Treatment:
    _refuse_activation(call.operation.activation, call.rank)
    return _channels(call)


def _activation(call: Call) -> Treatment:
    _refuse_activation(call.operation.activation, call.rank)
    return _elementwise(call)


def _along_axes(call: Call) -> Treatment:
    """Mixes the values along `axis`, of which time must not be one."""
    axis = call.operation.axis
    if min(_positive(axis, call.rank)) < 2:
        raise CannotStream(
            f"it works over time (axis={axis})", "Let it work over channels"
        )
    return _elementwise(call)


def _normalization(call: Call) -> Treatment:
    """Has values of its own for each index along `axis`."""
    axis = call.operation.axis
    if axis not in ((), None) and min(_positive(axis, call.rank)) < 2:
        raise CannotStream(
            f"it has statistics for each time step (axis={axis})",
            "Let `axis` be the channels",
        )
    return _elementwise(call)


def _prelu(call: Call) -> Treatment:
    if 1 not in (call.operation.shared_axes or ()):
        raise CannotStream(
            "it has a slope for each time step", "Use `shared_axes=[1]`"
        )
    return _elementwise(call)


def _embedding(call: Call) -> Treatment:
    if call.operation.mask_zero:
        raise CannotStream("it makes a mask", "Use `mask_zero=False`")
    return _elementwise(call)


def _rescaling(call: Call) -> Treatment:
    for value in (call.operation.scale, call.operation.offset):
        if len(getattr(value, "shape", ())) > 1:
            return _unknown(call)
    return _channels(call) if call.rank > 2 else _elementwise(call)


def _refuse_activation(activation, rank: int) -> None:
    """Keras's activations work frame by frame; others may do anything."""
    if activation is None:
        return
    name = getattr(activation, "__name__", type(activation).__name__)
    module = getattr(activation, "__module__", "") or ""
    known = module.split(".")[0] in ("keras", "tensorflow")
    if not known or not (
        hasattr(keras.activations, name) or type(activation) in _LAYERS
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


def _refuse_channels_first(layer) -> None:
    if getattr(layer, "data_format", None) == "channels_first":
        raise CannotStream(
            'its `data_format` is "channels_first"',
            'Build the model with `data_format="channels_last"`; the weights '
            "are the same",
        )


def _positive(axis, rank: int) -> list[int]:
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    return [axis % rank for axis in axes]


def _first(value) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value


_KERAS = keras.layers
_LAYERS = {
    **dict.fromkeys(
        (
            layers.DepthwiseConv1D,
            layers.SeparableConv1D,
            _KERAS.Conv1D,
            _KERAS.DepthwiseConv1D,
            _KERAS.SeparableConv1D,
        ),
        _convolution,
    ),
    **dict.fromkeys((_KERAS.AveragePooling1D, _KERAS.MaxPooling1D), _pooling),
    **dict.fromkeys(
        (
            _KERAS.Flatten,
            _KERAS.GlobalAveragePooling1D,
            _KERAS.GlobalMaxPooling1D,
        ),
        _gathered,
    ),
    **dict.fromkeys(
        (
            _KERAS.ActivityRegularization,
            _KERAS.AlphaDropout,
            _KERAS.Dropout,
            _KERAS.GaussianDropout,
            _KERAS.GaussianNoise,
            _KERAS.Identity,
            _KERAS.LeakyReLU,
            _KERAS.SpatialDropout1D,
        ),
        _identity,
    ),
    **dict.fromkeys((_KERAS.ELU, _KERAS.ReLU), _elementwise),
    **dict.fromkeys(
        (
            _KERAS.Add,
            _KERAS.Average,
            _KERAS.Maximum,
            _KERAS.Minimum,
            _KERAS.Multiply,
            _KERAS.Subtract,
        ),
        _arithmetic,
    ),
    **dict.fromkeys(
        (
            _KERAS.LayerNormalization,
            _KERAS.RMSNormalization,
            _KERAS.Softmax,
            _KERAS.UnitNormalization,
        ),
        _along_axes,
    ),
    **dict.fromkeys(
        (_KERAS.BatchNormalization, _KERAS.Normalization), _normalization
    ),
    _KERAS.Activation: _activation,
    _KERAS.Concatenate: _concatenation,
    _KERAS.Cropping1D: _cropping,
    _KERAS.Dense: _dense,
    _KERAS.Embedding: _embedding,
    _KERAS.PReLU: _prelu,
    _KERAS.Rescaling: _rescaling,
    _KERAS.Reshape: _reshape,
    _KERAS.TimeDistributed: _elementwise,
    _KERAS.ZeroPadding1D: _zero_padding,
}
# By name: Keras keeps the classes of `keras.ops` to itself.
_OPERATIONS = {
    **dict.fromkeys(
        (
            "Absolute Celu Clip Cos Divide Elu Exp Gelu HardSigmoid HardSilu "
            "HardTanh LeakyRelu Log Log1p LogSigmoid Mish Negative Power ReLU "
            "Reciprocal Relu Relu6 Selu Sigmoid Silu Sin Softplus Softsign "
            "Sqrt Square Tanh TanhShrink TrueDivide"
        ).split(),
        _elementwise,
    ),
    **dict.fromkeys(
        "Add Maximum Minimum Multiply Subtract".split(), _arithmetic
    ),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _along_axes),
    **dict.fromkeys("Amax Amin Max Mean Min Sum".split(), _reduction),
    "Concatenate": _concatenation,
    "GetItem": _slicing,
    "Reshape": _reshape,
}
