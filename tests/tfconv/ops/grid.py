"""The configurations that the operation is tested over."""

import dataclasses

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.tfconv.ops import reference

PADDINGS = ("valid", "same", "causal")
# strides with dilation_rate: the operation refuses both at once.
STEPPINGS = ((1, 1), (2, 1), (3, 1), (4, 1), (1, 2), (1, 3), (1, 4))
KERNEL_SIZES = (1, 2, 3, 4, 5, 9)
CHANNELS = (1, 3)
MULTIPLIERS = (1, 2, 3)
BATCH = 2


def _windows(steppings):
    return pytest.mark.parametrize(
        "padding, strides, dilation_rate",
        [
            pytest.param(padding, *stepping, id=f"{padding}-s%d-d%d" % stepping)
            for padding in PADDINGS
            for stepping in steppings
        ],
    )


every_window = _windows(STEPPINGS)
# For what has to be compiled.
some_windows = _windows([(1, 1), (3, 1), (1, 3)])


@dataclasses.dataclass(frozen=True)
class Case:
    kernel_size: int
    channels: int = 3
    multiplier: int = 1
    steps: int = 12
    strides: int = 1
    padding: str = "same"
    dilation_rate: int = 1
    batch: int = BATCH

    @property
    def window(self):
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
        }

    @property
    def kernel_shape(self):
        return self.kernel_size, self.channels, self.multiplier

    def operands(self, dtype=np.float32):
        """x, w, dy: drawn anew for every case, the same in every run."""
        rng = np.random.default_rng(
            [self.kernel_size, self.channels, self.multiplier, self.steps]
        )
        x = rng.normal(size=(self.batch, self.steps, self.channels))
        w = rng.normal(size=self.kernel_shape)
        outputs = len(
            reference.meetings(self.steps, self.kernel_size, **self.window)
        )
        dy = rng.normal(
            size=(self.batch, outputs, self.channels * self.multiplier)
        )
        return x.astype(dtype), w.astype(dtype), dy.astype(dtype)

    def check_outputs(self, y, x, w):
        reference.assert_is_rounded_sum(
            y,
            reference.depthwise_conv1d(x, w, **self.window),
            reference.depthwise_conv1d(np.abs(x), np.abs(w), **self.window),
            terms=self.kernel_size,
        )

    def check_input_gradient(self, dx, dy, w):
        reference.assert_is_rounded_sum(
            dx,
            reference.input_gradient(dy, w, self.steps, **self.window),
            reference.input_gradient(
                np.abs(dy), np.abs(w), self.steps, **self.window
            ),
            terms=self.kernel_size * self.multiplier,
        )

    def check_kernel_gradient(self, dw, x, dy):
        reference.assert_is_rounded_sum(
            dw,
            reference.kernel_gradient(x, dy, self.kernel_size, **self.window),
            reference.kernel_gradient(
                np.abs(x), np.abs(dy), self.kernel_size, **self.window
            ),
            terms=self.batch * dy.shape[1],
        )


def edge_steps(kernel_size, strides, padding, dilation_rate):
    """Numbers of input steps around which something changes.

    One step; fewer than there are taps; fewer than, exactly, and more than a
    window spans; windows that end with the last step and windows that do not;
    a multiple of the stride and its two neighbours.
    """
    span = dilation_rate * (kernel_size - 1) + 1
    steps = {1, kernel_size - 1, span - 1, span, span + 1, span + strides}
    steps |= {5 * strides - 1, 5 * strides, 5 * strides + 1, 2 * span + 3}
    shortest = span if padding == "valid" else 1
    return sorted(t for t in steps if t >= shortest)


def rounds(padding, strides, dilation_rate, every=1):
    """Lists of cases: all kernel shapes in each, with steps that differ.

    All lists have the same kernel shapes in the same order, so that one traced
    function can serve all of them; together they hold every kernel shape at
    every number of steps on its edges.

    With `every=n` the lists have an nth of the kernel shapes. From one window
    to the next they shift, so that the windows together have all of them.
    """
    window = (strides, padding, dilation_rate)
    columns = [
        [Case(k, c, m, t, *window) for t in edge_steps(k, *window)]
        for k in KERNEL_SIZES
        for c in CHANNELS
        for m in MULTIPLIERS
    ]
    shift = STEPPINGS.index((strides, dilation_rate)) + PADDINGS.index(padding)
    columns = columns[shift % every :: every]
    return [
        [column[r % len(column)] for column in columns]
        for r in range(max(len(column) for column in columns))
    ]


def sample(padding, strides, dilation_rate, every):
    """One list of every nth kernel shape, each at another of its edges."""
    lists = rounds(padding, strides, dilation_rate, every)
    return [
        lists[column % len(lists)][column] for column in range(len(lists[0]))
    ]


# Shapes at which an implementation may switch from one method to another: long
# kernels, a single channel, many channels, windows longer than the input.
LARGE_CASES = [
    Case(17, channels=1, steps=100, padding="valid", multiplier=3),
    Case(33, channels=8, steps=70, padding="same", strides=2),
    Case(31, channels=8, steps=20, padding="same"),
    Case(26, channels=3, steps=90, padding="causal", dilation_rate=2),
    Case(9, channels=64, steps=90, padding="same", dilation_rate=4),
    Case(9, channels=16, steps=57, padding="causal", strides=4, multiplier=2),
    Case(400, channels=1, steps=1100, strides=160, multiplier=4),
    Case(15, channels=1, steps=1045, padding="same", strides=2, batch=25),
    Case(104, channels=9, steps=220, padding="valid", dilation_rate=2),
]


@st.composite
def any_case(draw):
    """A case from a range far wider than the grid's."""
    strides = draw(st.integers(1, 7))
    kernel_size = draw(st.integers(1, 40))
    dilation_rate = 1 if strides > 1 else draw(st.integers(1, 9))
    padding = draw(st.sampled_from(PADDINGS))
    span = dilation_rate * (kernel_size - 1) + 1
    shortest = span if padding == "valid" else 1
    return Case(
        kernel_size,
        draw(st.sampled_from([1, 2, 3, 4, 7, 8, 9, 16, 40, 64, 65])),
        draw(st.integers(1, 5)),
        draw(st.integers(shortest, shortest + 80)),
        strides,
        padding,
        dilation_rate,
        batch=draw(st.integers(1, 3)),
    )
