"""A stream held to the model that it comes from, on every window."""

import keras
import numpy as np

import tfconv


def randomize(model):
    """Weights as after some training: biases and statistics too."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        positive = "variance" in weight.path
        low, high = (0.5, 1.5) if positive else (-0.6, 0.6)
        weight.assign(rng.uniform(low, high, weight.shape))
    return model


def signals(model, frames, batch=2, seed=0):
    """Random frames for each input of the model."""
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(batch, frames, *tensor.shape[2:])).astype(np.float32)
        for tensor in model.inputs
    ]


def like_inputs(model, arrays):
    return arrays[0] if len(model.inputs) == 1 else arrays


def assert_close(actual, expected):
    """To the rounding of float32, and never by way of NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.all(np.isfinite(expected))
    scale = float(np.max(np.abs(expected), initial=1.0))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * scale)


def assert_newest_close(actual, expected):
    """As far as both have frames, of outputs over time."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.ndim > 2 and actual.shape[1] != expected.shape[1]:
        frames = min(actual.shape[1], expected.shape[1])
        actual, expected = actual[:, -frames:], expected[:, -frames:]
    assert_close(actual, expected)


def assert_equal_to_windows(
    model, hop, fallback=None, jit_compile=False, hops_after=3
):
    """At every hop that the plan promises; returns the plan."""
    randomize(model)
    stream = tfconv.streaming.Stream(
        model, hop, fallback=fallback, jit_compile=jit_compile
    )
    plan = stream.plan
    hops = plan.hops_until_full + hops_after
    inputs = signals(model, hops * hop)
    compared = 0
    for count in range(1, hops + 1):
        end = count * hop
        new = [array[:, end - hop : end] for array in inputs]
        actual = stream(like_inputs(model, new))
        promised = plan.every_hop and end >= plan.window
        if promised or count == plan.hops_until_full:
            past = [array[:, end - plan.window : end] for array in inputs]
            expected = model(like_inputs(model, past))
            keras.tree.map_structure(assert_newest_close, actual, expected)
            compared += 1
    assert compared == (hops_after + 1 if plan.every_hop else 1)
    return plan
