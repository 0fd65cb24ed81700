"""What floors under XLA are made of does a convolution's work."""

import functools

import numpy as np
import pytest

from benchmarks import products
from benchmarks import xla_forms

TAPS, CHANNELS = 5, 3


def of_normal(seed, *shape):
    random = np.random.default_rng(seed)
    return random.standard_normal(shape, dtype=np.float32)


def windows(inputs, dilation):
    """[b, t, c] -> [b, t, k, c], with padding="same" and an odd kernel."""
    steps = inputs.shape[1]
    reach = (TAPS - 1) * dilation
    padded = np.pad(inputs, [(0, 0), (reach // 2, reach // 2), (0, 0)])
    shifted = [
        padded[:, tap * dilation :][:, :steps].astype(np.float64)
        for tap in range(TAPS)
    ]
    return np.stack(shifted, axis=2)


FORMS = (xla_forms.sum_of_taps_of_padded, xla_forms.sum_of_taps_in_parts)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dilation", [1, 2])
def test_sums_of_taps_are_the_outputs(form, dilation):
    x, w = of_normal(0, 2, 17, CHANNELS), of_normal(1, TAPS, CHANNELS)
    expected = np.einsum("btkc,kc->btc", windows(x, dilation), w)
    np.testing.assert_allclose(form(x, w, dilation), expected, atol=1e-5)
    if dilation > 1:
        rows = xla_forms.of_rows(
            x, np.tile(w, [1, dilation]), size=dilation, form=form
        )
        np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_strided_sum_has_every_other_output():
    x, w = of_normal(0, 2, 17, CHANNELS), of_normal(1, TAPS, CHANNELS)
    every = xla_forms.sum_of_taps_of_padded(x, w)
    every_other = xla_forms.sum_of_taps_of_padded(x, w, stride=2)
    np.testing.assert_array_equal(every_other, every[:, ::2])


def test_gradients_of_rows_and_of_phases_are_the_same():
    upstream, kernel = (
        of_normal(0, 2, 9, CHANNELS),
        of_normal(1, 3, 2, CHANNELS),
    )
    rows = xla_forms.input_gradient_of_rows(upstream, kernel)
    phases = xla_forms.input_gradient_of_phases(upstream, kernel)
    assert rows.shape == (2, 18, CHANNELS)
    np.testing.assert_allclose(rows, phases, atol=1e-6)


@pytest.mark.parametrize("multiplier", [2, 4])
def test_sums_over_a_multiplier_are_the_gradients_of_inputs(multiplier):
    upstream = of_normal(0, 2, 17, CHANNELS * multiplier)
    kernels = of_normal(1, TAPS, CHANNELS, multiplier)
    flat = kernels.reshape(TAPS, -1)
    each = np.einsum("btkc,kc->btc", windows(upstream, 2), flat)
    expected = each.reshape(2, 17, CHANNELS, multiplier).sum(axis=3)
    for form in (
        xla_forms.sum_of_all_taps_and_outputs,
        xla_forms.sum_of_taps_side_by_side,
    ):
        found = form(upstream, kernels, dilation=2)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("size", [5, 6, 17])
@pytest.mark.parametrize("as_examples", [False, True])
def test_blocks_make_the_gradient_of_the_kernel(size, as_examples):
    dilation = 2
    x, upstream = of_normal(0, 2, 34, CHANNELS), of_normal(1, 2, 34, CHANNELS)
    (found,) = xla_forms.kernel_gradients_of_rows(
        x,
        upstream,
        form=functools.partial(
            xla_forms.kernel_gradients_of_padded, taps=TAPS, size=size, runs=1
        ),
        folds=(dilation, dilation),
        as_examples=as_examples,
    )
    found = np.reshape(found, [TAPS, -1, CHANNELS]).sum(axis=1)
    expected = np.einsum("btkc,btc->kc", windows(x, dilation), upstream)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_product_with_a_unit_matrix_is_the_signal():
    x = of_normal(0, 2, 24, CHANNELS)
    matrices = np.tile(np.eye(8, dtype=np.float32), [1, CHANNELS, 1, 1])
    np.testing.assert_array_equal(products.products(x, matrices, blocks=3), x)
