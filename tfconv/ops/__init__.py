"""Tensor operations: one meaning, several lowerings."""

from tfconv.ops.depthwise import depthwise_conv1d
from tfconv.ops.depthwise import pointwise_conv1d
from tfconv.ops.explanation import Explanation
from tfconv.ops.explanation import explain
from tfconv.ops.geometry import LARGEST
from tfconv.ops.geometry import PADDINGS
from tfconv.ops.geometry import Geometry
from tfconv.ops.tracing import exporting
from tfconv.ops.tracing import inference

__all__ = [
    "LARGEST",
    "PADDINGS",
    "Explanation",
    "Geometry",
    "depthwise_conv1d",
    "explain",
    "exporting",
    "inference",
    "pointwise_conv1d",
]
