"""The trained model as NumPy sees it, traced once."""

import numpy as np
import tensorflow as tf

from tfconv_export import output_bounds
from tfconv_export.errors import UsageError
from tfconv_export.source import Source


class Reference:
    """The trained model, from an example to its outputs.

    Args:
        source: one whose shape is fixed.

    Attributes:
        bounds: dict from an output to the numbers between which it lies
            whatever the model is given; see `output_bounds`.
    """

    def __init__(self, source: Source):
        function = tf.function(source.reference, autograph=False)
        self._function = function.get_concrete_function(
            {
                item.name: tf.TensorSpec((1, *item.shape), item.dtype)
                for item in source.inputs
            }
        )
        self.bounds = output_bounds.bounds_of(self._function)

    def __call__(self, example: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for an example.

        Raises:
            UsageError: if the model does not take it, as one that asserts
                something of its inputs may.
        """
        try:
            outputs = self._function(
                {name: tf.constant(value) for name, value in example.items()}
            )
        except tf.errors.InvalidArgumentError as error:
            raise UsageError(
                f"The model fails on an example: {_brief(error)}."
            ) from error
        return {name: value.numpy() for name, value in outputs.items()}


def _brief(error: tf.errors.OpError) -> str:
    """TensorFlow's sentence without the graph's nodes around it."""
    said = error.message.partition("\n\t [[")[0].splitlines()[-1]
    return said.rpartition("}} ")[2].rstrip(".")
