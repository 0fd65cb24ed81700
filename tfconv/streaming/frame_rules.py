"""Rules for layers that work on each frame by itself."""

import keras
import numpy as np

from tfconv.streaming import timeline
from tfconv.streaming.calls import Call
from tfconv.streaming.calls import Treatment
from tfconv.streaming.calls import positive
from tfconv.streaming.calls import refuse_activation
from tfconv.streaming.calls import unknown
from tfconv.streaming.errors import CannotStream


def elementwise(call: Call) -> Treatment:
    """Element by element, where zeros may become something else."""
    return _joined(call, keeps_zeros=False)


def identity(call: Call) -> Treatment:
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


def arithmetic(call: Call) -> Treatment:
    return _joined(call, keeps_zeros=len(call.inputs) > 1)


def concatenation(call: Call) -> Treatment:
    axis = call.operation.axis
    if 1 in positive(axis, call.rank):
        raise CannotStream(
            f"it concatenates over time (axis={axis})",
            "Concatenate over channels",
        )
    return arithmetic(call)


def channels(call: Call) -> Treatment:
    """Frame by frame, of which the last axis must not be time."""
    if call.rank < 3:
        raise CannotStream(
            f"it acts on the last axis, which is time in "
            f"{call.inputs[0].shape}",
            "Reshape the frames to (steps, channels) before it",
        )
    return elementwise(call)


def dense(call: Call) -> Treatment:
    refuse_activation(call.operation.activation, call.rank)
    return channels(call)


def activation(call: Call) -> Treatment:
    refuse_activation(call.operation.activation, call.rank)
    return elementwise(call)


def along_axes(call: Call) -> Treatment:
    """Mixes the values along `axis`, of which time must not be one."""
    axis = call.operation.axis
    if min(positive(axis, call.rank)) < 2:
        raise CannotStream(
            f"it works over time (axis={axis})", "Let it work over channels"
        )
    return elementwise(call)


def parting(call: Call) -> Treatment:
    """Takes each frame apart along `axis`, which must be of its channels."""
    _check_channels(call, call.rank)
    return Treatment(timeline.join(call.times, keeps_zeros=True))


def taking(call: Call) -> Treatment:
    """Channels by numbers, which must not come from the model."""
    return unknown(call) if len(call.inputs) > 1 else parting(call)


def putting_together(call: Call) -> Treatment:
    """Gives each frame the axes of `axis`, which must come after time."""
    _check_channels(call, call.rank + np.size(call.operation.axis))
    return identity(call)


def _check_channels(call: Call, rank: int) -> None:
    axis = call.operation.axis
    if axis is None or min(positive(axis, rank)) < 2:
        raise CannotStream(
            f"it does not work on the channels alone (axis={axis})",
            "Let `axis` be the channels (frames are chosen by slices, as in "
            "x[:, 2:8])",
        )


def normalization(call: Call) -> Treatment:
    """Has values of its own for each index along `axis`."""
    axis = call.operation.axis
    if axis not in ((), None) and min(positive(axis, call.rank)) < 2:
        raise CannotStream(
            f"it has statistics for each time step (axis={axis})",
            "Let `axis` be the channels",
        )
    return elementwise(call)


def prelu(call: Call) -> Treatment:
    if 1 not in (call.operation.shared_axes or ()):
        raise CannotStream(
            "it has a slope for each time step", "Use `shared_axes=[1]`"
        )
    return elementwise(call)


def embedding(call: Call) -> Treatment:
    if call.operation.mask_zero:
        raise CannotStream("it makes a mask", "Use `mask_zero=False`")
    return elementwise(call)


def rescaling(call: Call) -> Treatment:
    for value in (call.operation.scale, call.operation.offset):
        if len(getattr(value, "shape", ())) > 1:
            return unknown(call)
    return channels(call) if call.rank > 2 else elementwise(call)
