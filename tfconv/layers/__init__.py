"""Keras layers for 1-D signals."""

from tfconv.layers.depthwise_conv1d import DepthwiseConv1D
from tfconv.layers.separable_conv1d import SeparableConv1D

__all__ = ["DepthwiseConv1D", "SeparableConv1D"]
