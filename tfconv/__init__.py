"""1-D convolutions for Keras, trained with XLA and made for edge devices."""

from tfconv import backend as _backend  # noqa: F401, before all others
from tfconv import streaming as streaming
from tfconv.compilation import jit
from tfconv.conversion import from_keras
from tfconv.layers import DepthwiseConv1D
from tfconv.layers import SeparableConv1D
from tfconv.ops import depthwise_conv1d

__all__ = [
    "DepthwiseConv1D",
    "SeparableConv1D",
    "depthwise_conv1d",
    "from_keras",
    "jit",
]
__version__ = "0.1.0"
