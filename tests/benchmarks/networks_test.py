"""The networks that the benchmarks compare."""

import keras
import numpy as np
import pytest

import tfconv
from benchmarks import networks
from benchmarks import training
from tests.benchmarks import command

CASES = [
    *((name, build, {}) for name, build in networks.NETWORKS.items()),
    ("causal", networks.ds_cnn, {"padding": "causal", "dilations": (1, 3)}),
]


@pytest.fixture
def torch_twins():
    if not command.has_torch():
        pytest.skip("PyTorch is optional")
    from benchmarks import torch_twins

    return torch_twins


@pytest.mark.parametrize("input_shape", [(20, 6), (200, 1)])
@pytest.mark.parametrize(
    ("build", "options"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_of_tfconv_and_of_keras_they_compute_the_same(
    build, options, input_shape
):
    ours = build(input_shape, 4, tfconv, **options)
    theirs = build(input_shape, 4, keras.layers, **options)
    ours.set_weights(theirs.get_weights())
    x = np.random.default_rng(0).standard_normal((2, *input_shape))
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 6])
@pytest.mark.parametrize("network", networks.NETWORKS)
def test_those_of_pytorch_have_as_many_parameters(
    network, channels, torch_twins
):
    model = networks.NETWORKS[network]((200, channels), 5, tfconv)
    twin = torch_twins.build(network, channels, 5)
    assert sum(p.numel() for p in twin.parameters()) == sum(
        np.prod(weight.shape) for weight in model.trainable_weights
    )


@pytest.mark.parametrize("network", networks.NETWORKS)
@pytest.mark.filterwarnings("ignore:CUDA initialization")  # It finds no GPU.
@pytest.mark.usefixtures("torch_twins")
def test_those_of_pytorch_train(network):
    cell = training.Cell(network, 4, batch=2, steps=20, channels=6)
    trainer = training.make_trainer(cell, "torch", train_steps=2)
    assert trainer() > 0
    assert trainer() > 0
