"""The tables of which form runs where are sound.

That each form computes the same is shown in lowerings_test.py; that each is
fast, by benchmarks/op_benchmark.
"""

import dataclasses
import itertools

import pytest

from tfconv.ops import regimes
from tfconv.ops.regimes import Form
from tfconv.ops.regimes import Regime
from tfconv.ops.regimes import Rule

TABLES = {
    "operation": regimes.OPERATION,
    "phases": regimes.PHASES,
    "outputs": regimes.OUTPUTS,
    "input_gradient": regimes.INPUT_GRADIENT,
    "kernel_gradient": regimes.KERNEL_GRADIENT,
    "multiplied_kernel_gradient": regimes.MULTIPLIED_KERNEL_GRADIENT,
    "xla": regimes.XLA,
    "xla_input_gradient": regimes.XLA_INPUT_GRADIENT,
}
GRID = [
    Regime(taps, channels, multiplier, stride, dilation, elements)
    for taps, channels, multiplier, (stride, dilation), elements in (
        itertools.product(
            (1, 3, 5, 8, 9, 10, 12, 15, 17, 20, 31, 63, 64),
            (1, 2, 3, 5, 8, 9, 40, 80, 128, 256),
            (1, 2, 4, 8, 16),
            ((1, 1), (2, 1), (3, 1), (4, 1), (6, 1), (9, 1), (1, 2), (1, 4)),
            (0, 1000, 9_000, 15_000, 30_000, 50_000, regimes.ANY),
        )
    )
]


@pytest.mark.parametrize("name", TABLES)
def test_every_rule_is_the_first_that_fits_somewhere(name):
    table = TABLES[name]
    reached = {
        next((i for i, rule in enumerate(table) if rule.fits(regime)), None)
        for regime in GRID
    }
    assert reached >= set(range(len(table)))


def test_bounds_are_inclusive():
    rule = Rule(Form.ROWS, taps=(3, 5))
    fits = [rule.fits(Regime(taps, channels=1)) for taps in range(1, 8)]
    assert fits == [False, False, True, True, True, False, False]


def test_a_rule_without_bounds_fits_everything():
    assert all(Rule(Form.HEIGHT).fits(regime) for regime in GRID)


def test_the_first_rule_that_fits_decides_and_the_native_op_without_one():
    table = (
        Rule(Form.ROWS, taps=(3, 9)),
        Rule(Form.HEIGHT, taps=(5, 9)),
        Rule(Form.SEGMENTS, taps=(5, 12)),
    )
    chosen = [
        regimes.choose(table, Regime(taps, channels=1))
        for taps in (1, 5, 10, 13)
    ]
    assert chosen == [Form.NATIVE, Form.ROWS, Form.SEGMENTS, Form.NATIVE]


def test_short_plain_kernels_stay_one_native_operation():
    for channels in (3, 8, 64, 256):
        regime = Regime(3, channels)
        assert regimes.choose(regimes.OPERATION, regime) is Form.NATIVE


@pytest.mark.parametrize("channels", [1, 3])
def test_products_are_of_known_steps(channels):
    regime = Regime(31, channels, multiplier=2, stride=2)
    unknown = dataclasses.replace(regime, elements=0)
    for table in (
        regimes.OUTPUTS,
        regimes.INPUT_GRADIENT,
        regimes.MULTIPLIED_KERNEL_GRADIENT,
    ):
        assert regimes.choose(table, regime) is Form.TOEPLITZ
        assert regimes.choose(table, unknown) is not Form.TOEPLITZ
