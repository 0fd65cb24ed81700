"""Where is this call being traced: for XLA, for export, or neither?"""

import contextlib
import contextvars
import enum

import tensorflow as tf


class Lowering(enum.Enum):
    """The form that an operation takes in the graph."""

    GRAPH = "graph"
    XLA = "xla"
    EDGE = "edge"


_inference = contextvars.ContextVar("tfconv_inference", default=False)
_exporting = contextvars.ContextVar("tfconv_exporting", default=False)


@contextlib.contextmanager
def setting(variable: contextvars.ContextVar, value):
    """Gives a variable a value inside the context, and gives that."""
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)


def exporting():
    """Operations traced inside this context take their edge form.

    The edge form needs static shapes and is for conversion to TFLite: on
    TensorFlow's own CPU runtime it does not run when dilated.

    Example:

    >>> layer = tfconv.DepthwiseConv1D(3, padding="causal", dilation_rate=2)
    >>> layer.build((1, 98, 40))
    >>> with tfconv.ops.exporting():
    ...     function = tf.function(layer).get_concrete_function(
    ...         tf.TensorSpec((1, 98, 40))
    ...     )
    """
    return setting(_exporting, True)


def inference(enabled: bool = True):
    """Operations traced inside this context are one native op each.

    That is what a converter knows. Their gradients are the same as outside, but
    in a plain graph the outputs come without the reshapes of training.
    """
    return setting(_inference, enabled)


def in_inference() -> bool:
    """Whether the caller is inside of `inference()`."""
    return _inference.get()


def current_lowering() -> Lowering:
    """The lowering that fits the place where the caller is being traced."""
    if _exporting.get() and not tf.executing_eagerly():
        return Lowering.EDGE
    if in_xla() and not has_accelerator():
        return Lowering.XLA
    return Lowering.GRAPH


def has_accelerator() -> bool:
    """Whether there is a GPU or a TPU for the operation to run on."""
    return any(tf.config.get_visible_devices(kind) for kind in ("GPU", "TPU"))


def in_xla() -> bool:
    """Whether the caller is being traced into a `jit_compile=True` function.

    TensorFlow has no public way to ask. Should the private function move,
    the answer is False, and the graph lowering, which XLA compiles too, runs.
    """
    if tf.executing_eagerly():
        return False
    try:
        from tensorflow.python.ops import control_flow_util
    except ImportError:
        return False
    in_context = getattr(
        control_flow_util, "GraphOrParentsInXlaContext", lambda graph: False
    )
    return bool(in_context(tf.compat.v1.get_default_graph()))


def is_computed(tensor: tf.Tensor) -> bool:
    """Whether the graph being traced computes the tensor, or is called with it.

    Of a parameter, padding is a copy; what is computed can be written with it.
    """
    return not tf.executing_eagerly() and tensor.op.type != "Placeholder"
