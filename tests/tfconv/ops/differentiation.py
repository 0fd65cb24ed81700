"""The operation and both gradients, held to the NumPy statement."""

import tensorflow as tf


def forward_and_gradients(convolve):
    """A function of x, w and dy: y, dx and dw."""

    def run(x, w, dy):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = convolve(x, w)
        return [y, *tape.gradient(y, [x, w], dy)]

    return run


def check(case, found):
    """Holds y, dx and dw of a case to the statement."""
    x, w, dy = case.operands()
    y, dx, dw = found
    case.check_outputs(y, x, w)
    case.check_input_gradient(dx, dy, w)
    case.check_kernel_gradient(dw, x, dy)
