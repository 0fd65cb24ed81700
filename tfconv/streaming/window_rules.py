"""Rules for layers that look over several frames, or choose among them."""

import keras

from tfconv import ops
from tfconv.streaming import timeline
from tfconv.streaming.calls import Call
from tfconv.streaming.calls import Treatment
from tfconv.streaming.calls import positive
from tfconv.streaming.calls import refuse_activation
from tfconv.streaming.calls import refuse_channels_first
from tfconv.streaming.calls import unknown
from tfconv.streaming.errors import CannotStream
from tfconv.streaming.frame_rules import channels
from tfconv.streaming.timeline import Timeline
from tfconv.streaming.twins import without_padding


def convolution(call: Call) -> Treatment:
    layer = call.operation
    refuse_activation(layer.activation, call.rank)
    refuse_channels_first(layer)
    geometry = ops.Geometry(
        layer.kernel_size[0],
        layer.strides[0],
        layer.padding,
        layer.dilation_rate[0],
    )
    time, hold = _windows(call, geometry)
    function = None if layer.padding == "valid" else without_padding(layer)
    return Treatment(time, hold, function)


def pooling(call: Call) -> Treatment:
    layer = call.operation
    refuse_channels_first(layer)
    geometry = ops.Geometry(
        _first(layer.pool_size), _first(layer.strides), layer.padding
    )
    time, hold = _windows(call, geometry, 'Use `padding="valid"`')
    function = None if layer.padding == "valid" else without_padding(layer)
    return Treatment(time, hold, function)


def _windows(
    call: Call,
    geometry: ops.Geometry,
    remedy: str = 'Use `padding="causal"` or `padding="valid"`',
) -> tuple[Timeline, int]:
    left, right = geometry.pads(call.time.window)
    if right or (left and geometry.padding == "same"):
        raise CannotStream(
            '`padding="same"` puts zeros after the window, where the next hop '
            "brings frames",
            f"{remedy} and train again",
        )
    return timeline.slide(
        call.time, geometry.effective_kernel_size, geometry.strides, left
    )


def gathered(call: Call) -> Treatment:
    refuse_channels_first(call.operation)
    return Treatment(*timeline.gather(call.time))


def reduction(call: Call) -> Treatment:
    axis = call.operation.axis
    if axis is None:
        return unknown(call)
    axes = positive(axis, call.rank)
    if 1 in axes:
        return Treatment(*timeline.gather(call.time))
    return channels(call)


def cropping(call: Call) -> Treatment:
    return _cropped(call, *call.operation.cropping)


def _cropped(call: Call, left: int, right: int, key=()) -> Treatment:
    time, hold = timeline.crop(call.time, left, right)
    frames = call.time.frames

    def function(inputs, *args, **kwargs):
        if not key and inputs.shape[1] == frames:
            return inputs
        return inputs[(slice(None), slice(frames), *key)]

    return Treatment(time, hold, function)


def zero_padding(call: Call) -> Treatment:
    left, right = call.operation.padding
    refuse_channels_first(call.operation)
    if right:
        raise CannotStream(
            "it puts zeros after the window, where the next hop brings frames",
            f"Pad the start only, with ({left + right}, 0), and train again",
        )
    return Treatment(
        timeline.pad(call.time, left), function=lambda inputs: inputs
    )


def slicing(call: Call) -> Treatment:
    key = _argument(call, "key")
    return _sliced(
        call, tuple(key) if isinstance(key, (tuple, list)) else (key,)
    )


def box(call: Call) -> Treatment:
    """A slice that is given by where it begins and by its shape."""
    starts = _argument(call, "start_indices")
    if len(call.inputs) > 1 or not isinstance(starts, (tuple, list)):
        return unknown(call)
    ends = zip(starts, call.operation.shape, strict=True)
    parts = [
        slice(start or None, None if size == -1 else start + size)
        for start, size in ends
    ]
    return _sliced(call, tuple(parts))


def _argument(call: Call, name: str):
    """The second one of an operation's call."""
    return call.args[1] if len(call.args) > 1 else call.kwargs[name]


def _sliced(call: Call, key: tuple) -> Treatment:
    plain = all(isinstance(part, (slice, int)) for part in key)
    if not plain or key[0] != slice(None) or len(key) > call.rank:
        return unknown(call)
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
        return unknown(call)
    return _cropped(call, start, window - stop, key[2:])


def reshape(call: Call) -> Treatment:
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


def _first(value) -> int:
    return value[0] if isinstance(value, (tuple, list)) else value
