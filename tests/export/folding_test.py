"""Batch normalizations in other layers compute what they did by themselves."""

import keras
import numpy as np
import pytest

import tfconv
from tests.export import models
from tests.export.closeness import MAX_FLOAT32_ERROR
from tfconv_export.folding import fold

LAYERS = keras.layers
STEPS, CHANNELS = 24, 6


@pytest.fixture
def in_float64():
    """Tells what is exact from what is nearly so."""
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx("float32")


def trained(model: keras.Model, seed: int = 0, negative=False) -> keras.Model:
    """The model, its normalizations as training leaves them."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = weight.shape
        if weight.name == "gamma":
            signs = rng.choice([-1.0, 1.0], shape) if negative else 1.0
            weight.assign(rng.uniform(0.3, 2.0, shape) * signs)
        elif weight.name == "moving_variance":
            weight.assign(10 ** rng.uniform(-2, 1, shape))
        elif "float" in weight.dtype:
            weight.assign(0.3 * rng.standard_normal(shape))
    return model


def random_layer(rng: np.random.Generator, rank: int) -> keras.Layer:
    """One that takes frames of channels, or just channels."""

    def pick(*values):
        return values[rng.integers(len(values))]

    use_bias = bool(pick(0, 1))
    activation = pick(None, "relu", "tanh")
    options = {"activation": activation, "use_bias": use_bias}
    ends = {"scale": bool(pick(0, 1, 1)), "center": bool(pick(0, 1, 1))}
    any_rank = [
        lambda: LAYERS.BatchNormalization(**ends),
        lambda: LAYERS.Dense(CHANNELS, **options),
        lambda: LAYERS.Dropout(0.5),
        lambda: LAYERS.ReLU(),
    ]
    if rank < 3:
        return pick(*any_rank)()
    size, multiplier = pick(1, 1, 2, 3), pick(1, 2)
    window = pick({}, {"strides": 2}, {"dilation_rate": 2}) | options
    window["padding"] = pick("valid", "valid", "same", "causal")
    pool = {"strides": pick(1, 2), "padding": pick("valid", "same")}
    frames = [
        lambda: LAYERS.Conv1D(CHANNELS, size, groups=pick(1, 2, 3), **window),
        lambda: tfconv.DepthwiseConv1D(
            size, depth_multiplier=multiplier, **window
        ),
        lambda: tfconv.SeparableConv1D(
            CHANNELS, size, depth_multiplier=multiplier, **window
        ),
    ]
    movers = [
        lambda: LAYERS.MaxPooling1D(2, **pool),
        lambda: LAYERS.AveragePooling1D(2, **pool),
        lambda: LAYERS.ZeroPadding1D(2),
        lambda: LAYERS.Cropping1D((1, 0)),
        lambda: LAYERS.UpSampling1D(2),
    ]
    return pick(any_rank[0], *any_rank, *frames, *frames, *movers)()


def random_network(seed: int) -> keras.Model:
    """A network with branches, blocks that are models, and two outputs."""
    rng = np.random.default_rng(seed)
    inputs = keras.Input((STEPS, CHANNELS))
    tensors = [inputs]
    for _ in range(rng.integers(8, 14)):
        # Mostly on from the last; sometimes a second reader of another.
        x = tensors[-1 if rng.random() < 0.85 else rng.integers(len(tensors))]
        rank = len(x.shape)
        choice = rng.random()
        if rank == 3 and x.shape[1] < 4:
            layer = LAYERS.Flatten()
        elif rank == 3 and choice < 0.1:
            layer = LAYERS.GlobalMaxPooling1D()
        elif choice < 0.2:
            parts = [random_layer(rng, rank), LAYERS.BatchNormalization()]
            layer = keras.Sequential([keras.Input(x.shape[1:]), *parts])
        elif choice < 0.3:
            other = LAYERS.BatchNormalization()(x)
            tensors.append(LAYERS.Concatenate()([x, other]))
            continue
        elif choice < 0.35:
            other = LAYERS.BatchNormalization()(x)
            tensors.append(LAYERS.Add()([x, other]))
            continue
        else:
            layer = random_layer(rng, rank)
        if getattr(layer, "groups", 1) > 1 and x.shape[-1] % layer.groups:
            continue
        tensors.append(layer(x))
    model = keras.Model(inputs, LAYERS.Dense(3)(tensors[-1]))
    return trained(model, seed, negative=bool(seed % 2))


def assert_same(model: keras.Model, folded: keras.Model) -> None:
    (tensor,) = model.inputs
    data = models.examples(*tensor.shape[1:], count=4)
    expected, found = (models.outputs_of(m, data) for m in (model, folded))
    scale = np.abs(expected).max()
    # float64 has 1e-16 of a number; normalizations of normalizations make
    # large ones, whose differences are the outputs.
    limit = 1e-9 if expected.dtype == np.float64 else MAX_FLOAT32_ERROR
    np.testing.assert_allclose(found, expected, rtol=0, atol=limit * scale)


@pytest.mark.usefixtures("in_float64")
def test_random_networks_compute_the_same():
    total = 0
    for seed in range(20):
        model = random_network(seed)
        folded, folds = fold(model)
        if folds:
            total += len(folds)
            assert_same(model, folded)
    assert total > 20


def conv(name: str, *args, kind=LAYERS.Conv1D, **options) -> keras.Layer:
    return kind(*args, name=name, **{"activation": "tanh"} | options)


def norm(name: str = "bn", **options) -> keras.Layer:
    return LAYERS.BatchNormalization(name=name, **options)


def chain(*layers: keras.Layer, shape=(STEPS, CHANNELS)) -> keras.Model:
    inputs = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return trained(keras.Model(inputs, x))


def folds_of(model: keras.Model) -> dict[str, tuple[str, ...]]:
    """Folds of a network, after a look that it computes the same."""
    folded, folds = fold(model)
    assert_same(model, folded)
    return {item.norm: item.into for item in folds}


FORWARD = {
    "pooled": [
        LAYERS.MaxPooling1D(2),
        LAYERS.Dropout(0.5),
        conv("next", 4, 3, use_bias=False),
    ],
    "averaged_and_cropped": [
        LAYERS.AveragePooling1D(2, padding="same"),
        LAYERS.Cropping1D(1),
        conv("next", 4, 3, groups=2),
    ],
    "flattened": [LAYERS.Flatten(), LAYERS.Dense(4, name="next")],
    "over_all_of_time": [
        LAYERS.GlobalMaxPooling1D(),
        LAYERS.Dense(4, name="next"),
    ],
    "depthwise": [
        conv("next", 3, kind=tfconv.DepthwiseConv1D, depth_multiplier=2)
    ],
    "separable_of_keras": [
        conv("next", 4, 3, kind=LAYERS.SeparableConv1D, strides=2)
    ],
    "same_that_pads_nothing": [conv("next", 4, 2, strides=2, padding="same")],
    "zeros_where_zero_is_zero": [
        LAYERS.ZeroPadding1D(1),
        conv("next", 4, 3, padding="same"),
    ],
    "into_two_dimensions": [
        LAYERS.Reshape((STEPS, 1, 8)),
        conv("next", 4, (3, 1), kind=LAYERS.Conv2D),
    ],
    "turned_around": [
        LAYERS.Permute((2, 1)),
        conv(
            "next",
            4,
            3,
            kind=tfconv.SeparableConv1D,
            data_format="channels_first",
        ),
    ],
}


@pytest.mark.parametrize("name", FORWARD)
def test_goes_into_the_layer_that_follows(name):
    is_centered = "zero" not in name
    model = chain(conv("first", 8, 1), norm(center=is_centered), *FORWARD[name])
    if not is_centered:
        model.get_layer("bn").moving_mean.assign(np.zeros(8))
    assert folds_of(model) == {"bn": ("next",)}


BEHIND = {
    "maximum": [LAYERS.MaxPooling1D(2)],
    "mean_over_time": [LAYERS.GlobalAveragePooling1D()],
    "cropped": [LAYERS.Dropout(0.5), LAYERS.Cropping1D(1)],
}


@pytest.mark.parametrize("name", BEHIND)
def test_goes_into_the_layer_before_if_that_has_no_activation(name):
    model = chain(
        conv("first", 8, 3, activation=None, use_bias=False),
        *BEHIND[name],
        norm(),
        LAYERS.ReLU(),
    )
    assert folds_of(model) == {"bn": ("first",)}


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_images_are_folded_in_both_layouts(data_format):
    axis = 1 if data_format == "channels_first" else -1
    options = {"data_format": data_format}
    kinds = LAYERS.DepthwiseConv2D, LAYERS.SeparableConv2D
    inputs = keras.Input((6, 6, 6))
    x = conv("first", 3, kind=kinds[0], **options)(inputs)
    x = LAYERS.MaxPooling2D(2, **options)(norm(axis=axis)(x))
    outputs = conv("next", 4, 2, kind=kinds[1], **options)(x)
    model = trained(keras.Model(inputs, outputs))
    if data_format == "channels_last":
        assert folds_of(model) == {"bn": ("next",)}
    else:  # TensorFlow computes it on GPU only.
        assert [item.into for item in fold(model)[1]] == [("next",)]


def relu(name: str = "first") -> keras.Layer:
    return conv(name, 8, 1, activation="relu")


@pytest.mark.parametrize("negative", [False, True])
def test_scale_goes_into_the_layer_before_a_relu(negative):
    layers = [relu(), LAYERS.Dropout(0.5), norm(), conv("next", 4, 3)]
    model = trained(chain(*layers), negative=negative)
    assert folds_of(model) == {"bn": ("first", "next")}
    folded, _ = fold(model)
    bn, data = model.get_layer("bn"), models.examples(STEPS, CHANNELS)
    before, after = (
        models.outputs_of(
            keras.Model(m.input, m.get_layer("first").output), data
        )
        for m in (model, folded)
    )
    deviation = np.sqrt(np.array(bn.moving_variance) + bn.epsilon)
    scale = np.abs(np.array(bn.gamma)) / deviation
    np.testing.assert_allclose(after, before * scale, rtol=1e-4)


STAYING = {
    "before_zeros": [norm(), conv("next", 4, 3, padding="same")],
    "before_causal_zeros": [norm(), conv("next", 4, 3, padding="causal")],
    "before_zero_padding": [
        norm(),
        LAYERS.ZeroPadding1D(1),
        conv("next", 4, 3),
    ],
    "before_an_activation": [norm(), LAYERS.ReLU(), conv("next", 4, 3)],
    "as_an_output": [norm()],
    "before_another_class": [
        norm(),
        type("Mine", (LAYERS.Conv1D,), {})(4, 3, name="next"),
    ],
}


@pytest.mark.parametrize("name", STAYING)
@pytest.mark.parametrize("first", [conv("first", 8, 1), relu()])
def test_stays_where_it_could_not_be_exact(name, first):
    model = chain(type(first).from_config(first.get_config()), *STAYING[name])
    folded, _ = fold(model)
    assert folds_of(model) == {}
    assert isinstance(folded.get_layer("bn"), LAYERS.BatchNormalization)


def test_negative_scales_do_not_go_past_a_maximum():
    model = chain(relu(), norm(), LAYERS.MaxPooling1D(2), conv("next", 4, 3))
    gamma = model.get_layer("bn").gamma
    gamma.assign(np.array(gamma) * ([1.0] * 7 + [-1.0]))
    assert folds_of(model) == {}


def test_all_readers_take_it_or_none():
    inputs = keras.Input((STEPS, CHANNELS))
    x = norm()(conv("first", 8, 1)(inputs))
    readers = [conv("left", 4, 3)(x), conv("right", 4, 3)(x)]
    outputs = LAYERS.Concatenate()(readers)
    model = trained(keras.Model(inputs, outputs))
    assert folds_of(model) == {"bn": ("left", "right")}
    model = trained(keras.Model(inputs, [outputs, x]))
    assert fold(model) == (model, ())


def test_layers_that_are_called_twice_stay():
    inputs = keras.Input((STEPS, CHANNELS))
    shared, head = norm(), conv("head", CHANNELS, 1, activation="relu")
    x = head(shared(conv("first", CHANNELS, 1)(inputs)))
    x = head(norm("own")(shared(x)))
    model = trained(keras.Model(inputs, x))
    assert fold(model) == (model, ())


def test_goes_into_the_next_block():
    blocks = [
        keras.Sequential(
            [keras.Input((steps, channels)), conv("c", 8, 3), norm()],
            name=name,
        )
        for name, steps, channels in (
            ("one", STEPS, CHANNELS),
            ("two", STEPS - 2, 8),
        )
    ]
    model = chain(*blocks, LAYERS.Flatten(), LAYERS.Dense(3, name="d"))
    assert folds_of(model) == {"one/bn": ("two/c",), "two/bn": ("d",)}


def test_scales_beyond_float32_stay():
    model = chain(conv("first", 8, 1), norm(), conv("next", 4, 3))
    model.get_layer("bn").gamma.assign(np.full(8, 3e38))
    model.get_layer("bn").moving_variance.assign(np.zeros(8))
    assert fold(model) == (model, ())


def test_channels_that_never_vary_are_folded():
    model = chain(conv("first", 8, 1), norm(epsilon=1e-6), conv("next", 4, 3))
    variance = np.array(model.get_layer("bn").moving_variance)
    variance[:4] = 0.0
    model.get_layer("bn").moving_variance.assign(variance)
    assert folds_of(model) == {"bn": ("next",)}
