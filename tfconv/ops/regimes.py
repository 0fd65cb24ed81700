"""Which form of a convolution is fast where: the rule, and its measurements.

On CPU, TensorFlow's native op computes outputs and the gradient of inputs at
the pace of a copy, except for few channels and for multipliers; its gradient of
a kernel has cliffs. The first rule of a table that fits decides; where none
does, the native op runs. Under XLA on CPU that op is slow, and none of it runs.

Numbers are milliseconds of the native op -> of the form, with
benchmarks/op_benchmark or one part of it: float32, batch 32, 1 to 2 million
elements, 2 cores of an AMD EPYC unless another is named, TensorFlow 2.21. c:
channels, k: taps, m: multiplier, s: stride, d: dilation.
"""

import dataclasses
import enum

import tensorflow as tf

from tfconv.ops.geometry import Geometry

ANY = 10**9
# Where model.fit traces, it is unknown. This is Keras's default.
BATCH_IF_UNKNOWN = 32


class Form(enum.Enum):
    """How something is computed."""

    NATIVE = "TensorFlow's op, and for the whole convolution its gradients"
    REDUCED = "outputs and gradients each in the form of its own table"
    REPEATED = "channels repeated, so that there is no multiplier"
    SEGMENTS = "distant segments of the signal as channels"
    ROWS = "the phases of a stride as channels"
    WIDTH = "the phases of a stride or a dilation as the width of an image"
    HEIGHT = "TensorFlow's op with time as the height of an image"
    SPREAD = "zeros between the taps, so that there are half as many phases"
    APART = "the outputs of a channel one by one"
    TAPS = "the sum over the taps of shifted inputs"
    TOEPLITZ = "products of blocks of the signal with matrices"


@dataclasses.dataclass(frozen=True)
class Regime:
    """A convolution, as far as speed depends on it.

    Attributes:
        taps: int.
        channels: int, of the inputs.
        multiplier: int.
        stride: int.
        dilation: int.
        elements: int, of the inputs, in a batch of `BATCH_IF_UNKNOWN` if that
            is unknown. 0 in eager mode, where more operations are what costs,
            and if the time steps are unknown, so that there can be no segments
            or blocks.
    """

    taps: int
    channels: int
    multiplier: int = 1
    stride: int = 1
    dilation: int = 1
    elements: int = ANY

    @classmethod
    def of(cls, inputs, kernel, geometry: Geometry) -> "Regime":
        """Of a tensor `(b, t, c)` and a kernel `(k, c, m)`, where traced."""
        taps, channels, multiplier = kernel.shape
        batch, steps, _ = inputs.shape
        if batch is None:
            batch = BATCH_IF_UNKNOWN
        if tf.executing_eagerly() or steps is None:
            steps = 0
        return cls(
            taps,
            channels,
            multiplier,
            geometry.strides,
            geometry.dilation_rate,
            batch * steps * channels,
        )


@dataclasses.dataclass(frozen=True)
class Rule:
    """A form, and the bounds, inclusive, within which it is the fast one."""

    form: Form
    taps: tuple[int, int] = (1, ANY)
    channels: tuple[int, int] = (1, ANY)
    multiplier: tuple[int, int] = (1, ANY)
    stride: tuple[int, int] = (1, ANY)
    dilation: tuple[int, int] = (1, ANY)
    elements: tuple[int, int] = (0, ANY)

    def fits(self, regime: Regime) -> bool:
        return all(
            low <= getattr(regime, field.name) <= high
            for field in dataclasses.fields(regime)
            for low, high in [getattr(self, field.name)]
        )


_ONE_OUTPUT = {"multiplier": (1, 1)}
_TWICE = {"multiplier": (2, ANY)}
_TWO = {"multiplier": (2, 2)}
_MORE = {"multiplier": (3, ANY)}
_PLAIN = _ONE_OUTPUT | {"stride": (1, 1)}

_SHORT = {"taps": (1, 15)}
_LONG = {"taps": (20, ANY)}
_DILATED = {"dilation": (2, ANY)}
_STRIDED = {"stride": (2, ANY)}
_DENSE = {"dilation": (1, 1), "stride": (1, 1)}

# Little to do, for which more operations do not pay: y + dx + dw, the native
# op's time divided by that of Form.REDUCED.
_LITTLE = (
    # m=4 k=3 and 9: 2,000 elements 0.5 to 0.8, 25,000 0.8 to 1.07, 80,000 0.9,
    # 100,000 1.15 to 1.4; k=31: 1,000 0.6 to 0.9, 3,000 0.8 to 1.1. An EPYC of
    # Zen 5: k=3 and 9: c=128 32,000 0.9 to 1.0, 64,000 0.9 to 1.2, c=256 16,000
    # 0.8 to 1.0, 32,000 1.0 to 1.4; k=12 to 15: 32,000 0.9 to 1.0, 64,000 1.0
    # to 2.7.
    (90_000, _DILATED | _MORE | {"taps": (1, 11), "channels": (1, 127)}),
    (90_000, _DILATED | _MORE | {"taps": (1, 5), "channels": (128, 255)}),
    (50_000, _DILATED | _MORE | {"taps": (6, 11), "channels": (128, 255)}),
    (20_000, _DILATED | _MORE | {"taps": (1, 11), "channels": (256, ANY)}),
    (40_000, _DILATED | _MORE | {"taps": (12, 15)}),
    (3_000, _DILATED | _MORE),
    # m=2 k=3 and 9: 3,000 0.8 to 1.1, 8,000 0.8 to 1.3, 25,000 1.0 to 1.5.
    (8_000, _DILATED | _SHORT | {"multiplier": (2, 2)}),
    # k=3: 6,000 0.9, 25,000 0.9 to 1.1, c=256 60,000 0.8, 100,000 1.0 to 1.5;
    # c=1 d=2, k=3 and 9: 2,000 0.7, 16,000 0.96 to 1.3.
    (30_000, _DILATED | {"taps": (1, 5), "channels": (2, ANY)}),
    # Of one output. m=2 (an EPYC of Zen 5) c=64 to 512 32,000 1.1 to 1.3.
    (70_000, _DILATED | _ONE_OUTPUT | {"taps": (1, 3), "channels": (64, ANY)}),
    (12_000, {"dilation": (2, 2), "channels": (1, 1)} | _SHORT),
    # k=3 and 5 (an EPYC of Zen 5): 16,000 0.9 to 1.0, 24,000 1.0 to 1.1.
    (20_000, {"dilation": (2, 2), "channels": (1, 1), "taps": (1, 5)}),
    # m=1: c=3 1,000 0.7 to 1.1; c=2 of 16,000 k=31 0.8, with products 0.9, k=63
    # 1.1, of 32,000 k=20 and 31 0.5 to 1.1.
    (7_000, _STRIDED | _SHORT | _MORE),
    (3_000, _STRIDED | _ONE_OUTPUT | {"channels": (3, 5)}),
    (50_000, _STRIDED | _ONE_OUTPUT | {"channels": (2, 2)}),
    # k=18 to 63: c=3 10,000 and 20,000 0.7 to 0.9, 48,000 2; c=8 3,000 0.7 to
    # 1.1, 25,000 1.0 to 1.5; m=4 c=3 1,000 0.6 to 1.0, 10,000 1.2.
    (30_000, _DENSE | _LONG | _ONE_OUTPUT | {"channels": (2, 5)}),
    (10_000, _DENSE | _LONG | _ONE_OUTPUT | {"channels": (6, 8)}),
    (5_000, _DENSE | _LONG | _MORE | {"channels": (1, 5)}),
)

# And likewise of multipliers, of kernels below 20 taps; 0: eager mode.
_LITTLE_MULTIPLIED = (
    (0, {}),
    # One example: c=8 k=9 0.51 -> 0.61. An EPYC of Zen 5, also below: c=16 and
    # 40 k=3 and 9: m=2 0.9 to 1.15, m=4 0.7 to 1.05; c=3 k=15: m=2 24,000 0.9
    # to 1.0, 64,000 1.1 and k=19 1.3, c=1 1.5; m=4 64,000 0.8 to 1.0.
    (100_000, _TWO | {"channels": (1, 5), "taps": (1, 14)}),
    (30_000, _TWO | {"channels": (1, 5)}),
    (100_000, _MORE | {"channels": (1, 5)}),
    (100_000, {"channels": (6, 63), "taps": (1, 9)}),
    # k=12 to 14: m=2 8,000 to 16,000 0.9 to 1.1, 32,000 1.0 to 1.1, 64,000 1.1
    # to 6; m=4 64,000 0.8 to 1.1, k=14 1.0 to 3.3. k=15 and 19: 8,000 0.8 to
    # 1.6, 16,000 0.7 to 2.0, 32,000 1.2 to 1.7, 64,000 1.7 to 7.
    (100_000, _MORE | {"channels": (6, 63), "taps": (10, 13)}),
    (25_000, {"taps": (10, ANY)}),
    # c=64 to 512: m=2 16,000 0.9 to 1.3, 32,000 1.0 to 1.2, 64,000 1.05 to 1.9.
    (25_000, _TWO),
    # m=4: s=2 64,000 0.7 to 1.0; else 16,000 0.7 to 1.15, 32,000: c=128 0.8 to
    # 1.0, c=256 1.0 to 1.4; 64,000: c=64 1.0 to 1.1, c=128 0.9 to 1.2.
    # k=15: s=2 32,000 c=40 0.9, c=8 1.1; 64,000 1.2 to 1.8; s=4 64,000 0.7 to
    # 1.0.
    (100_000, _MORE | _STRIDED | {"taps": (1, 13)}),
    (100_000, _MORE | {"stride": (4, ANY)}),
    (40_000, _MORE | _STRIDED | {"channels": (17, ANY)}),
    (100_000, _MORE | {"channels": (64, 127), "taps": (1, 13)}),
    (100_000, _MORE | {"channels": (128, 255), "taps": (1, 5)}),
    (50_000, _MORE | {"channels": (64, 255)}),
    (25_000, _MORE),
)

# Multipliers with a stride that the native op is not slow for.
_FROM_4 = {"stride": (4, ANY)}
_STRIDED_NATIVE = (
    # s=2 m=4: c=64 k=3 even, k=5 5.7 -> 6.6, k=9 7.5 -> 5.8; c=8 3.1 -> 3.7;
    # s=2 m=2: k=3 4.2 -> 2.9; s=4: m=2 k=9 even, m=4 4.4 -> 5.7. Of an Intel
    # Xeon, s=2 m=4: k=9 c=40 6.2 -> 7.6; c=3 k=15 12 -> 15.
    _MORE | {"taps": (1, 8)},
    _MORE | {"taps": (9, 9), "channels": (1, 63)},
    # m=4, native / reduced (an EPYC of Zen 5): s=2: k=11 to 14: c=8 0.8 to 0.9,
    # c=12 0.7 to 0.8, c=24 0.8 to 1.0, c=40 1.1 to 1.2, c=16 k=12 1.15; s=4
    # k=14: c=8 to 24 0.6, c=40 0.8.
    _MORE | {"taps": (10, 14), "channels": (6, 31)},
    _MORE | {"taps": (1, 15), "channels": (1, 5)},
    _TWICE | {"taps": (1, 9), "stride": (3, ANY)},
    # k=11 to 17, native / reduced: m=4: c=3 s=2 0.5, from k=15
    # on 0.8 to 3, s=4 0.5 to 0.8, and k=11 for all; m=2: c=3 0.5 to 0.8, from
    # k=15 on 0.9 to 5; s=7 c=3 and 8 0.5 to 0.7.
    _TWICE | {"taps": (1, 14), "channels": (1, 5)},
    _TWICE | {"taps": (1, 12), "channels": (6, 15)} | _FROM_4,
    _MORE | {"taps": (1, 19), "channels": (1, 5)} | _FROM_4,
    _MORE | {"taps": (1, 14)} | _FROM_4,
)

# Multipliers without a stride, native / reduced.
_MULTIPLIED_REDUCED = (
    # k=3, 5, 9, 14: c=64 1.8, 1.7, 2.4, 2.7; c=16 1.9, 1.5, 2.0, 2.1; c=8 1.0,
    # 1.2, 2.0, 1.8; c=5 1.1, 1.2, 1.2, 1.5; c=3 0.9, 0.8, 1.1, 1.1; c=2 0.9,
    # 0.9, 0.8, 1.2; c=1 0.9, 0.7, 0.9, 0.9, k=15 1.3. An EPYC of Zen 5: c=3 k=9
    # to 13 1.0, k=14 0.9; c=4 k=9 1.0, k=12 and 13 0.8.
    _TWO | {"channels": (12, ANY)},
    _TWO | {"channels": (5, 11), "taps": (4, ANY)},
    _TWO | {"channels": (2, 2), "taps": (12, ANY)},
    _TWO | {"taps": (15, ANY)},
    # m=4: c=64 1.2, 1.2, 1.5, 1.7; c=8 0.9, 0.9, 1.1, 1.2; c=5 0.9, 1.0, 1.1,
    # 1.2; c=3 0.7, 0.9, 1.1, 1.0; c=40 k=7 1.0, k=9 1.0, k=13 1.3; c=16 k=6
    # 1.1, k=9 1.4. m=8: c=64 0.9, 1.1, 1.5, 1.8; c=8 0.8, 1.0, 1.2, 1.8.
    {"multiplier": (3, 5), "channels": (64, ANY)},
    _MORE | {"channels": (64, ANY), "taps": (5, ANY)},
    _MORE | {"channels": (16, 63), "taps": (6, ANY)},
    _MORE | {"channels": (8, 15), "taps": (7, ANY)},
    _MORE | {"channels": (5, 7), "taps": (8, ANY)},
    _MORE | {"taps": (15, ANY)},
)

# Blocks times matrices, where the time steps are known: y + dx + dw of the form
# that else is fastest, mostly native -> of products.
_KNOWN = {"elements": (1, ANY)}
_SINGLE = _KNOWN | {"channels": (1, 1), "dilation": (1, 1)}
_BY_PRODUCTS = (
    # y, k=12 1.82 -> 1.41; k=15 even, k=31 2.7 -> 2.5; of 16,000 elements k=15
    # 0.94 -> 0.69, 32,000 1.06 -> 0.73.
    _SINGLE | {"taps": (12, ANY)},
    # s=2: k=9 2.3 -> 2.1, k=15 2.7 -> 1.9, k=31 2.7 -> 1.8, m=2: k=9 5.4 ->
    # 3.2, k=31 5.3 -> 2.8; s=4: k=9 even, k=15 3.4 -> 2.0, k=31 2.9 -> 1.9, m=2
    # k=9 2.5 -> 2.0, m=4 k=31 8.6 -> 2.6; k=5 even, s=4 1.4 -> 1.7; of 3,200
    # elements k=9 0.57 -> 0.44, k=31 0.73 -> 0.43. s=8 k=9 1.4 -> 1.9.
    _SINGLE | {"taps": (8, ANY), "stride": (2, 4)},
)
_MULTIPLIED_BY_PRODUCTS = (
    *_BY_PRODUCTS,
    # m=2: k=9 4.9 -> 4.0, k=31 5.4 -> 4.2; m=4: k=9 even, k=31 9.1 -> 6.4; of
    # 3,200 elements even to a third less; k=5 even, m=4 4.5 -> 6.3.
    _SINGLE | _TWO | {"taps": (8, 11), "stride": (1, 1)},
    _SINGLE | _MORE | {"taps": (10, 11), "stride": (1, 1)},
)
# Strided multipliers of few channels, as those. k=31: c=2 m=2 s=4 5.1 -> 3.7,
# m=4 s=2 15 -> 9.2; c=3 m=2 s=2 9.1 -> 6.3; k=20 0.65 to 1.07 times; of 16,000
# elements 0.4 to 1.06. m=1, s=2 k=31: c=3 5.2 -> 3.1, c=2 4.3 -> 2.7, of 96,000
# elements 1.3 -> 1.2; k=20 4.3 -> 3.5; s=4 k=31 even.
_FEW_STRIDED = _KNOWN | _STRIDED | {"channels": (2, 3), "taps": (20, ANY)}
_FEW_BY_TWO = _FEW_STRIDED | _ONE_OUTPUT | {"stride": (2, 2), "taps": (28, ANY)}

# The sum y + dx + dw.
OPERATION = (
    *(
        Rule(Form.REDUCED, **bounds | {"elements": (1_000, ANY)})
        for bounds in _MULTIPLIED_BY_PRODUCTS
    ),
    *(
        Rule(Form.NATIVE, elements=(1, most), **bounds)
        for most, bounds in _LITTLE
    ),
    # c=64 k=3 d=2 3.4 -> 2.2, c=8 k=9 d=8 4.8 -> 1.4, c=1 k=31 d=4 15 -> 2.5.
    Rule(Form.REDUCED, dilation=(2, ANY)),
    # Most strides of a multiplier are slow: s=3 m=2: c=64 k=5 to 9 40 -> 1, c=8
    # 7 -> 0.8, c=3 4.4 -> 0.8; s=5, 6, 8 to 16 likewise; but k=3 and s=7 even.
    *(
        Rule(
            Form.REDUCED,
            multiplier=(2, ANY),
            stride=strides,
            taps=(4, ANY),
            channels=(2, ANY),
        )
        for strides in ((3, 3), (5, 6), (8, ANY))
    ),
    *(Rule(Form.NATIVE, **_STRIDED | bounds) for bounds in _STRIDED_NATIVE),
    # k=31, native / reduced: c=64 m=2 16, c=8 m=4 4.0, c=1 m=2 3.9, m=4 2.7.
    Rule(Form.REDUCED, multiplier=(2, ANY), taps=(20, ANY)),
    *(
        Rule(Form.NATIVE, elements=(0, most), **_TWICE | bounds)
        for most, bounds in _LITTLE_MULTIPLIED
    ),
    # m=4: c=80 k=3 5.8 -> 7.2, k=5 even.
    Rule(
        Form.NATIVE,
        multiplier=(3, ANY),
        channels=(65, 127),
        taps=(1, 5),
        elements=(500_000, ANY),
    ),
    *(
        Rule(Form.REDUCED, stride=(1, 1), **bounds)
        for bounds in _MULTIPLIED_REDUCED
    ),
    # s=2: c=64 m=4 k=9 7.5 -> 5.8.
    Rule(Form.REDUCED, **_STRIDED | _TWICE | {"channels": (32, ANY)}),
    Rule(
        Form.REDUCED,
        **_STRIDED | _TWICE | {"channels": (8, 31), "taps": (7, ANY)},
    ),
    Rule(Form.REDUCED, **_STRIDED | _TWICE | {"taps": (10, ANY)}),
    Rule(Form.NATIVE, multiplier=(2, ANY)),
    # c=64 s=2: k=5 1.7 -> 1.0, k=9 1.8 -> 1.0, k=31 14 -> 1.8; k=3 0.7 -> 1.0;
    # k=1 2.4 -> 1.3, c=8 2.1 -> 1.8; c=1 k=9 2.0 -> 1.6, but k=1 1.8 -> 2.2.
    Rule(Form.REDUCED, stride=(2, 3), taps=(1, 1), channels=(8, ANY)),
    # c=8 to 15, native / reduced (an EPYC of Zen 5): s=2: k=5 to 10 0.9 to
    # 1.04, k=11 to 14 1.0 to 1.17; s=3: k=5 to 14 0.8 to 1.0; k=15 2.7 to 5.6.
    Rule(Form.NATIVE, stride=(2, 2), taps=(2, 10), channels=(8, 15)),
    Rule(Form.NATIVE, stride=(3, 3), taps=(2, 14), channels=(8, 15)),
    Rule(Form.REDUCED, stride=(2, 3), taps=(5, ANY), channels=(8, ANY)),
    # Eager, c=1, native / reduced: k=31 512,000 1.1, 32,000 0.3; k=63 2.0, 0.4.
    Rule(Form.NATIVE, stride=(2, ANY), channels=(1, 1)),
    Rule(Form.REDUCED, stride=(2, ANY), taps=(8, ANY)),
    Rule(Form.NATIVE, stride=(2, ANY)),
    # c=40 k=5 2.1 -> 1.6, c=64 k=9 3.7 -> 2.0, k=31 36 -> 2.9; k=3 even.
    Rule(Form.REDUCED, channels=(9, ANY), taps=(5, ANY)),
    # c=8 k=7 even, k=31 9.8 -> 3.1; c=1 k=3 1.1 -> 0.8, k=9 1.9 -> 0.9, k=31 14
    # -> 1.9; of 100,000 elements c=1 k=3 even, k=9 a third less; of 20,000 c=8
    # k=15 a quarter less. One example: c=1 k=9 0.33 -> 0.43. Unknown steps: c=1
    # k=9 3.2 -> 5.7, k=31 18 -> 14; eager: c=1 k=9 5.4 -> 11, k=31 18 -> 10.
    Rule(
        Form.REDUCED,
        taps=(3, ANY),
        channels=(1, 1),
        elements=(100_000, ANY),
    ),
    Rule(Form.REDUCED, taps=(7, ANY), elements=(100_000, ANY)),
    Rule(Form.REDUCED, taps=(12, ANY), channels=(6, 8), elements=(20_000, ANY)),
    Rule(Form.REDUCED, taps=(20, ANY)),
)

# Phases of a dilation, where the time steps are a multiple of half of it only.
# y + dx + dw with a padded signal -> with a longer kernel.
PHASES = (
    # k=3: c=64 d=2 2.0 -> 1.7, d=4 2.1 -> 1.8, c=16 d=8 3.3 -> 2.6, c=256 2.2
    # -> 2.1; c=40 even, but c=3 d=4 4.0 -> 4.5, c=8 d=2 3.1 -> 3.8.
    Rule(Form.SPREAD, taps=(1, 3), channels=(16, ANY), **_ONE_OUTPUT),
    # k=4: c=64 2.8 -> 2.1; k=5: c=64 d=2 2.9 -> 1.9, d=8 even, c=16 2.2 -> 1.7;
    # but c=256 d=2 2.1 -> 2.8.
    Rule(Form.SPREAD, taps=(1, 5), channels=(16, 128), **_ONE_OUTPUT),
    # k=9, Keras / ours, among other work that fills the caches: c=128 d=8
    # 1.7 -> 2.3, c=256 d=4 1.7 -> 1.9; alone 2.5 -> 2.3.
    Rule(
        Form.SPREAD,
        taps=(6, 9),
        channels=(64, 256),
        dilation=(4, ANY),
        **_ONE_OUTPUT,
    ),
)

# y, and of dx of stride 1 what is not below.
OUTPUTS = (
    # c=1: k=12: m=1 s=2 1.5 -> 1.2, m=2 2.3 -> 2.0, s=2 2.1 -> 1.3, s=4 even;
    # but m=4 k=15 2.6 -> 4.4, s=2 2.1 -> 2.4, k=20 even, k=31 3.8 -> 3.2, s=2
    # 2.4 -> 2.1; k=9: m=2 1.7 even, s=2 1.7 -> 2.0, m=4 2.0 -> 3.0.
    Rule(Form.NATIVE, channels=(1, 1), taps=(1, 19), **_MORE),
    Rule(Form.NATIVE, channels=(1, 1), taps=(1, 11), **_TWO),
    Rule(Form.TOEPLITZ, taps=(12, ANY), **_SINGLE),
    # y + dx + dw, s=2: k=8 2.6 -> 2.2, k=9 3.3 -> 2.9.
    Rule(Form.TOEPLITZ, taps=(8, ANY), stride=(2, 2), **_SINGLE),
    Rule(Form.TOEPLITZ, **_FEW_STRIDED | _TWICE),
    Rule(Form.TOEPLITZ, **_FEW_BY_TWO),
    # m=2: c=64 k=31 38 -> 2.8, k=9 2.4 -> 1.5; c=8 k=31 10 -> 2.1.
    # y + dx + dw: m=2 k=9: c=40 6.5 -> 6.0, c=256 11 -> 6.2; m=4 k=3: c=64 9.6
    # -> 8.4, c=256 18 -> 9.1; but c=40 even, c=8 m=2 k=3 even.
    Rule(Form.REPEATED, multiplier=(2, ANY), taps=(10, ANY)),
    Rule(Form.REPEATED, multiplier=(2, 2), channels=(32, ANY)),
    Rule(Form.REPEATED, multiplier=(4, 4), channels=(64, ANY), stride=(1, 1)),
    # m=2: c=8: k=3 0.47 -> 0.36, k=9 0.77 -> 0.42; c=5 k=9 0.57 -> 0.43; c=3
    # k=9 0.53 -> 0.46, k=3 even.
    Rule(Form.REPEATED, multiplier=(2, 2), channels=(5, 31), stride=(1, 1)),
    # c=1: k=31 2.6 -> 0.8; y + dx + dw, k=3 1.1 -> 0.8, k=9 1.9 -> 0.9. c=2,
    # k=15 2.0 -> 1.4; c=3 k=15 1.4 -> 1.0, k=10 0.8 -> 0.9; c=4 k=31 3.9 ->
    # 2.6.
    Rule(Form.SEGMENTS, channels=(1, 1), **_PLAIN),
    Rule(Form.SEGMENTS, taps=(12, ANY), channels=(2, 4), **_PLAIN),
)

# dx; else of a stride the native op's, for each output of a channel.
INPUT_GRADIENT = (
    *(Rule(Form.TOEPLITZ, **bounds) for bounds in _MULTIPLIED_BY_PRODUCTS),
    Rule(Form.TOEPLITZ, **_FEW_STRIDED | _TWICE),
    Rule(Form.TOEPLITZ, **_FEW_BY_TWO),
)

# dw of a multiplier; else each output of a channel alone, as without one. The
# native op has a cliff at 15 taps.
MULTIPLIED_KERNEL_GRADIENT = (
    *(Rule(Form.TOEPLITZ, **bounds) for bounds in _MULTIPLIED_BY_PRODUCTS),
    Rule(Form.TOEPLITZ, **_FEW_STRIDED),
    # One by one -> native, with dx, k=9: m=2: c=3 1.3 -> 0.8, c=8 1.2 -> 1.0,
    # c=16 even; m=4: c=8 2.5 -> 1.5; but c=40, Keras / ours, 1.2 -> 0.9.
    Rule(Form.NATIVE, stride=(1, 1), taps=(1, 14), channels=(1, 8)),
    Rule(Form.APART),
)

# dw.
KERNEL_GRADIENT = (
    # c=1, y + dx + dw, products / native: s=4 k=9 2.55 -> 2.2.
    Rule(Form.NATIVE, channels=(1, 1), stride=(3, 4), taps=(1, 11)),
    *(Rule(Form.TOEPLITZ, **bounds) for bounds in _BY_PRODUCTS),
    Rule(Form.TOEPLITZ, **_FEW_BY_TWO),
    # s=2: c=64 k=5 1.0 -> 0.6, k=9 1.6 -> 0.6, k=31 13 -> 1.1; s=3: k=9 1.2 ->
    # 0.6; but s=4: k=9 1.0 -> 2.4, k=31 (as channels) 1.3 -> 5.8.
    Rule(Form.WIDTH, stride=(2, 3), channels=(8, ANY)),
    # c=64 s=4: k=9 1.2 -> 1.3, k=10 0.85 -> 0.68; s=7 even. The native op has a
    # cliff at 15 taps: c=3 s=2: k=14 0.8 -> 1.0, k=15 2.2 -> 1.0.
    Rule(Form.ROWS, stride=(4, 4), taps=(10, ANY), channels=(16, ANY)),
    Rule(Form.ROWS, stride=(2, ANY), taps=(15, ANY)),
    Rule(Form.NATIVE, stride=(2, ANY)),
    # Else they are channels: c=64 d=4 k=9 1.1 -> 0.75, k=31 1.35 -> 0.98; d=8
    # k=9 0.83 -> 0.54; c=24 even; but c=8 d=4 k=9 0.42 -> 0.63.
    Rule(Form.WIDTH, dilation=(2, ANY), channels=(32, ANY)),
    # Else as segments: c=3 k=9 0.63 -> 0.54, c=4 even; but c=1, y + dx + dw,
    # 1.2 -> 1.6.
    Rule(Form.NATIVE, channels=(3, 5), taps=(1, 9)),
    # Else as the height: c=1 k=31 5.3 -> 1.0, c=3 k=31 1.5 -> 0.8, c=8 k=15
    # even, k=31 1.6 -> 1.4, k=63 3.2 -> 1.7.
    Rule(Form.SEGMENTS, channels=(1, 5)),
    Rule(Form.SEGMENTS, channels=(6, 8), taps=(25, ANY)),
    # c=64 k=9 2.0 -> 0.7, k=31 82 -> 1.8; c=256 k=31 30 -> 8; c=6 k=9 even.
    Rule(Form.HEIGHT),
)

# Under XLA, y + dx + dw of Form.TAPS -> Form.TOEPLITZ, which also compiles in a
# quarter of the time or less. Little to do: b=1 t=128 c=1 k=64 0.10 -> 0.14,
# but b=32 t=128 c=3 0.45 -> 0.23.
_ONE = {"channels": (1, 1), "dilation": (1, 1), "elements": (2_000, ANY)}
_TWO_OR_THREE = _ONE | {"channels": (2, 3)}
_FEW = _ONE | {"channels": (4, 7)}
_MULTIPLIED = {"multiplier": (2, ANY)}
XLA = (
    # k=31 2.3 -> 2.4, k=400 62 -> 9; s=4 k=63 2.5 -> 2.4; k=63 3.6 -> 2.9, but
    # of an Intel Xeon 4.9 -> 6.3.
    Rule(Form.TOEPLITZ, taps=(64, ANY), **_ONE),
    # m=2: k=15 2.4 -> 3.4, k=20 3.7 -> 5.4, k=31 4.8 -> 3.2; m=4: k=20 6.4 ->
    # 10, k=26 even, k=31 7.9 -> 4.2; m=8 k=63 51 -> 12; of 16,000 elements k=20
    # 0.83 -> 0.64, m=4 0.87 -> 0.72. m=32 s=160 k=400 120 -> 2.8. And beside
    # sums of taps but for dx: s=4 m=4 k=14 2.5 -> 3.2, k=20 2.9 -> 4.9, s=2
    # k=24 even, k=31 to 48 from 2.6 -> 3.2 to 3.7 -> 2.8, of 32,000 elements
    # even or a third less, and compiled in a fifth of the time; s=3 k=14 even,
    # k=24 5.0 -> 4.4.
    Rule(Form.TOEPLITZ, taps=(28, ANY), **_MULTIPLIED, **_ONE),
    # m=8 s=1 k=24 31 -> 24, s=4 5.4 -> 7.4; m=16 s=2 k=27 35 -> 24, m=32 s=8
    # k=16 19 -> 15; compiled in a tenth of 3 to 9 s.
    Rule(Form.TOEPLITZ, taps=(20, 27), multiplier=(8, ANY), **_ONE),
    Rule(
        Form.TOEPLITZ,
        taps=(9, 19),
        multiplier=(16, ANY),
        stride=(2, ANY),
        **_ONE,
    ),
    Rule(
        Form.TOEPLITZ,
        taps=(20, 27),
        stride=(1, 1),
        **_MULTIPLIED | _ONE | {"elements": (2_000, 50_000)},
    ),
    Rule(Form.TOEPLITZ, taps=(20, 27), stride=(3, 3), **_MULTIPLIED, **_ONE),
    # The frames between two taps as examples, k=31: m=2: d=2 3.7 -> 3.0, d=4
    # 3.5 -> 2.9; m=4: d=2 6.0 -> 4.6, d=4 6.8 -> 5.4, d=8 6.1 -> 5.4.
    Rule(
        Form.TOEPLITZ,
        taps=(28, ANY),
        **_MULTIPLIED | _ONE | {"dilation": (2, ANY)},
    ),
    # c=2 k=24 2.2 -> 2.6, k=31 3.0 -> 2.0, k=63 15 -> 3.0; c=3 k=31 6.0 -> 3.9,
    # k=63 8.9 -> 4.7, s=2 k=63 4.9 -> 3.5. m=2: c=2 k=15 6.6 -> 3.6, c=3 k=9
    # even, k=31 13 -> 5.6.
    Rule(Form.TOEPLITZ, taps=(28, ANY), **_TWO_OR_THREE),
    Rule(Form.TOEPLITZ, taps=(12, ANY), **_MULTIPLIED, **_TWO_OR_THREE),
    # c=4 k=40 even, k=63 6.3 -> 5.5; c=6 k=63 5.0 -> 3.5; but c=8 k=63 4.1 ->
    # 5.2. m=2: c=4 k=15 3.2 -> 5.4, k=31 5.9 -> 5.1; c=6 k=31 12 -> 5.0.
    Rule(Form.TOEPLITZ, taps=(60, ANY), **_FEW),
    Rule(Form.TOEPLITZ, taps=(31, ANY), **_MULTIPLIED, **_FEW),
    Rule(Form.TAPS),
)

# Under XLA, dx of Form.TAPS -> Form.TOEPLITZ. k=9: m=2: s=2 1.8 -> 1.3, s=4 1.3
# -> 0.9; m=4 s=2 3.6 -> 1.6; y + dx + dw: m=4: s=3 5.2 -> 4.0, s=8 2.8 -> 1.9,
# k=3 even; of 3,000 elements, which no rule knows here, a tenth more.
XLA_INPUT_GRADIENT = (
    Rule(
        Form.TOEPLITZ,
        taps=(9, ANY),
        channels=(1, 1),
        stride=(2, ANY),
        **_MULTIPLIED,
    ),
)


def choose(table: tuple[Rule, ...], regime: Regime) -> Form:
    """The form of the first rule that fits; `Form.NATIVE` where none does."""
    return next((rule.form for rule in table if rule.fits(regime)), Form.NATIVE)
