"""Telling which forms compute a convolution of some shape, and why."""

import dataclasses

import tensorflow as tf

from tfconv.ops import depthwise
from tfconv.ops import selection
from tfconv.ops.selection import Choice
from tfconv.ops.selection import Form

# Where there is nothing to choose.
_ONLY_FORMS = {
    ("xla", "dx"): Form.TAPS.value,
    ("xla", "dw"): "sums over blocks of frames",
}


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The forms of a convolution; `str` makes a line for each part of it.

    Attributes:
        lowering: string, `"graph"` or `"xla"`, or `"accelerator"`, where all is
            TensorFlow's op.
        y: tuple of `Choice`s: of the whole, then of the outputs.
        dx: likewise, of the gradient of the inputs; empty where there is
            nothing to choose.
        dw: likewise, of the gradient of the kernel.
    """

    lowering: str
    y: tuple[Choice, ...]
    dx: tuple[Choice, ...]
    dw: tuple[Choice, ...]

    def __str__(self) -> str:
        lines = [f"lowering: {self.lowering}"]
        whole = self.y[0].form if self.y else Form.NATIVE
        for part in ("y", "dx", "dw"):
            told = [
                f"{choice.form.value} ({choice.why})"
                for choice in getattr(self, part)
            ]
            if not told and whole is Form.PRODUCTS:
                told = [whole.value]
            key = self.lowering, part
            told = told or [_ONLY_FORMS.get(key, Form.NATIVE.value)]
            lines.append(f"{part + ':':4}{'; then '.join(told)}")
        return "\n".join(lines)


def explain(
    input_shape: tuple[int | None, int | None, int],
    kernel_shape: tuple[int, int, int],
    strides: int = 1,
    padding: str = "valid",
    dilation_rate: int = 1,
    jit: bool = False,
) -> Explanation:
    """Tells which forms `depthwise_conv1d` takes for a shape, and why.

    The operation is traced for that, and not run.

    Args:
        input_shape: `(b, t, c)`; b and t may be `None`, for unknown.
        kernel_shape: `(k, c, m)`.
        strides: int, as for `depthwise_conv1d`.
        padding: string, likewise.
        dilation_rate: int, likewise.
        jit: bool, whether in a function with `jit_compile=True`.

    Raises:
        ValueError: as `depthwise_conv1d` does.

    Example:

    >>> print(tfconv.ops.explain((32, 98, 64), (3, 64, 1)))
    lowering: graph
    ...
    """

    @tf.function(jit_compile=jit, autograph=False)
    def differentiate(inputs, kernel):
        with tf.GradientTape() as tape:
            tape.watch([inputs, kernel])
            outputs = depthwise.depthwise_conv1d(
                inputs, kernel, strides, padding, dilation_rate
            )
        return tape.gradient(outputs, [inputs, kernel])

    with selection.recording() as choices:
        differentiate.get_concrete_function(
            tf.TensorSpec(input_shape), tf.TensorSpec(kernel_shape)
        )
    parts = (
        tuple(dict.fromkeys(each for each in choices if each.part == part))
        for part in ("y", "dx", "dw")
    )
    return Explanation(choices[0].table if choices else "accelerator", *parts)
