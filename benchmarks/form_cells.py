"""Random convolutions, as networks have them, for forms.py."""

import dataclasses
import math
import random

import numpy as np
import tensorflow as tf

_ELEMENTS = (4_000, 4_000_000)
_BATCHES = (1, 256)
_STEPS = (32, 16_000)
_KERNEL_SIZES = (2, 63)
_STRIDES = (2, 4)
_DILATIONS = (2, 16)
_MULTIPLIERS = (2, 4)
# What networks are made of, and the weights of the rest.
_UNUSUAL = {"few": 4, "many": 1, "multiplied": 3}
_USUAL_CHANNELS = (8, 256)
_FEW_CHANNELS = (1, 7)
_MANY_CHANNELS = (257, 512)
# A filter bank on a waveform has windows of long strides.
_FILTER_BANKS = 0.04
_BANK_STRIDES = (16, 32)
_BANK_FILTERS = (4, 16)
_STRIDED = 0.2
_DILATED = 0.2


@dataclasses.dataclass(frozen=True)
class Cell:
    """One convolution with `padding="same"`."""

    batch: int
    steps: int
    channels: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    multiplier: int = 1

    @property
    def elements(self) -> int:
        return self.batch * self.steps * self.channels

    @property
    def span(self) -> int:
        """The time steps from a window's first tap to its last."""
        return self.dilation * (self.kernel_size - 1) + 1

    def __str__(self) -> str:
        return (
            f"{self.batch}x{self.steps}x{self.channels} k={self.kernel_size} "
            f"s={self.stride} d={self.dilation} m={self.multiplier}"
        )


def draw(seed: int, count: int, usual: float = 0.6) -> list[Cell]:
    """Distinct cells, off any grid; more of them begin with the same.

    Args:
        seed: int.
        count: int, how many.
        usual: float, the share of what networks are made of.
    """
    source = random.Random(seed)
    cells = {}
    while len(cells) < count:
        cells[_draw(source, usual)] = None
    return list(cells)


def tensors(cell: Cell) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Inputs `(b, t, c)`, a kernel `(k, c, m)` and a gradient of outputs."""
    source = np.random.default_rng(0)
    outputs = cell.channels * cell.multiplier
    shapes = (
        (cell.batch, cell.steps, cell.channels),
        (cell.kernel_size, cell.channels, cell.multiplier),
        (cell.batch, math.ceil(cell.steps / cell.stride), outputs),
    )
    return tuple(
        tf.constant(source.standard_normal(shape, dtype=np.float32))
        for shape in shapes
    )


def _draw(source: random.Random, usual: float) -> Cell:
    channels, multiplier = _draw_channels(source, usual)
    kernel_size = _draw_integer(source, *_KERNEL_SIZES)
    stride = dilation = 1
    kind = source.random()
    if source.random() < _FILTER_BANKS:
        channels, multiplier = 1, _draw_integer(source, *_BANK_FILTERS)
        stride = _draw_integer(source, *_BANK_STRIDES)
        kernel_size = _draw_integer(source, stride, _KERNEL_SIZES[1])
    elif kind < _STRIDED:
        stride = source.randint(*_STRIDES)
    elif kind < _STRIDED + _DILATED:
        dilation = _draw_integer(source, *_DILATIONS)
    while True:
        cell = Cell(
            _draw_integer(source, *_BATCHES),
            _draw_integer(source, *_STEPS),
            channels,
            kernel_size,
            stride,
            dilation,
            multiplier,
        )
        low, high = _ELEMENTS
        if low <= cell.elements <= high and cell.span <= 2 * cell.steps:
            return cell


def _draw_channels(source: random.Random, usual: float) -> tuple[int, int]:
    """Channels and a multiplier."""
    if source.random() < usual:
        return _draw_integer(source, *_USUAL_CHANNELS), 1
    (kind,) = source.choices(list(_UNUSUAL), list(_UNUSUAL.values()))
    if kind == "few":
        return _draw_integer(source, *_FEW_CHANNELS), 1
    if kind == "many":
        return _draw_integer(source, *_MANY_CHANNELS), 1
    channels = _draw_integer(source, 1, _USUAL_CHANNELS[1])
    return channels, source.randint(*_MULTIPLIERS)


def _draw_integer(source: random.Random, low: int, high: int) -> int:
    """One of as many below as above the geometric mean of the bounds."""
    drawn = math.exp(source.uniform(math.log(low), math.log(high)))
    return min(high, max(low, round(drawn)))
