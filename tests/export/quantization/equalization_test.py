"""Channels brought to like ranges: the same function, easier to quantize."""

import keras
import numpy as np
import pytest

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import decibels
from tests.export.tflite import TFLiteFile
from tfconv_export import conversion
from tfconv_export import loading
from tfconv_export.quantization import equalization

CHANNELS = 16


def batches(array: np.ndarray):
    """One example at a time, as the exporter gives them."""
    return [[example[None]] for example in array]


def spread_out(model: keras.Model, factor: float) -> keras.Model:
    """The model, its channels' ranges a factor apart; another function."""
    rng = np.random.default_rng(3)

    def factors(shape):
        logs = rng.uniform(-0.5, 0.5, shape) * np.log(factor)
        return np.exp(logs).astype(np.float32)

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            scale = factors(layer.gamma.shape)
            layer.gamma.assign(layer.gamma * scale)
            layer.beta.assign(layer.beta * scale)
        if hasattr(layer, "depthwise_kernel"):
            kernel = layer.depthwise_kernel
            scale = factors(kernel.shape[1:])
            kernel.assign(kernel * scale)
            pointwise = layer.pointwise_kernel
            pointwise.assign(pointwise / scale.reshape(-1, 1))
    return model


def network(layers=tfconv) -> keras.Model:
    """Both layers, with every kind of what may stand between them."""
    inputs = x = keras.Input((40, 4), name="audio")
    for _ in range(2):
        x = layers.SeparableConv1D(CHANNELS, 3, padding="same")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU()(x)
    x = layers.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(x)
    x = keras.layers.BatchNormalization(scale=False)(x)
    x = keras.layers.LeakyReLU()(x)
    x = keras.layers.Conv1D(CHANNELS, 1, activation="relu")(x)
    x = keras.layers.MaxPooling1D(2)(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.Dense(CHANNELS, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    outputs = keras.layers.Dense(5, name="scores")(x)
    return models.randomize(keras.Model(inputs, outputs))


def changed(model: keras.Model) -> set[tuple[str, str]]:
    """The pairs of layers, by weights that are spread wherever they can."""
    _, changes = equalization.equalize(model, batches(models.DATA))
    return {(change.producer, change.consumer) for change in changes}


def chain(*layers: keras.Layer) -> keras.Model:
    """Functional, so that each has the name that it is given."""
    inputs = x = keras.Input((40, 4), name="audio")
    for layer in layers:
        x = layer(x)
    model = models.randomize(keras.Model(inputs, x))
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name in ("kernel", "gamma"):
                factors = np.geomspace(1, 100, weight.shape[-1])
                weight.assign(np.asarray(weight) * factors)
    return model


def pointwise(name: str, **arguments) -> keras.Layer:
    return keras.layers.Conv1D(8, 1, name=name, **arguments)


@pytest.mark.parametrize("layers", [tfconv, keras.layers])
@pytest.mark.parametrize("factor", [16.0, 100.0])
@pytest.mark.parametrize("ranges", ["measured", "estimated"])
def test_computes_the_same_in_float(layers, factor, ranges):
    model = spread_out(network(layers), factor)
    data = batches(models.DATA) if ranges == "measured" else None
    result, changes = equalization.equalize(model, data)
    assert len(changes) >= 4
    expected = models.outputs_of(model, models.DATA)
    found = models.outputs_of(result, models.DATA)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=3e-6 * np.abs(expected).max()
    )


def converted_db(source, quantize) -> float:
    recipe = conversion.Recipe(quantize)
    examples = models.chosen(source)
    content = conversion.convert(source, recipe, examples).content
    expected = source.reference({"audio": models.DATA})["scores"].numpy()
    return decibels(expected, TFLiteFile(content).run_one_output(models.DATA))


@pytest.mark.parametrize(
    ("factor", "quantize", "least"),
    [(100, "int8", 3), (1000, "int8", 10), (1000, "int16x8", 10)],
)
def test_unequal_channels_are_quantized_better(factor, quantize, least):
    source = loading.load(spread_out(network(), factor))
    better, changes = equalization.equalized(source, models.chosen(source))
    assert changes
    before = converted_db(source, quantize)
    after = converted_db(better, quantize)
    assert after > before + least, (before, after)


@pytest.mark.parametrize("seed", range(3))
def test_like_channels_are_not_quantized_worse(seed):
    model = models.randomize(network(), seed)
    source = loading.load(model)
    better, _ = equalization.equalized(source, models.chosen(source))
    before, after = (converted_db(s, "int8") for s in (source, better))
    assert after > before - 0.5


def test_ranges_become_equal_where_weights_are_per_channel():
    model = chain(
        pointwise("first", activation="relu"),
        tfconv.DepthwiseConv1D(3, name="second"),
    )
    result, (change,) = equalization.equalize(model, batches(models.DATA))

    def ranges(model):
        inner = keras.Model(model.input, model.get_layer("first").output)
        return models.outputs_of(inner, models.DATA).max(axis=(0, 1))

    before, after = ranges(model), ranges(result)
    assert before.max() / before.min() == pytest.approx(change.spread, rel=1e-4)
    np.testing.assert_allclose(after, after.mean(), rtol=1e-4)


def test_channels_that_are_always_zero_stay_finite():
    model = chain(
        pointwise("first", activation="relu"),
        pointwise("second"),
    )
    first, second = model.get_layer("first"), model.get_layer("second")
    first.bias.assign([-1e6, *[0.0] * 7])
    kernel = np.array(second.kernel)
    kernel[:, 1] = 0.0
    second.kernel.assign(kernel)
    result, changes = equalization.equalize(model, batches(models.DATA))
    assert changes
    np.testing.assert_allclose(
        models.outputs_of(result, models.DATA),
        models.outputs_of(model, models.DATA),
        atol=1e-3,
    )


def test_model_with_channels_alike_stays_itself():
    model = chain(pointwise("first"), tfconv.DepthwiseConv1D(3))
    first = model.get_layer("first")
    first.kernel.assign(np.ones(first.kernel.shape))
    first.bias.assign(np.zeros(8))
    result, changes = equalization.equalize(model, batches(models.DATA))
    assert result is model and changes == ()


def test_given_model_is_left_as_it_is():
    model = spread_out(network(), 100)
    before = [weights.copy() for weights in model.get_weights()]
    source = loading.load(model)
    better, _ = equalization.equalized(source, models.chosen(source))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert better.reference is source.reference
    assert better.exported is not source.exported
    np.testing.assert_array_equal(
        source.exported({"audio": models.DATA})["scores"],
        loading.load(model).exported({"audio": models.DATA})["scores"],
    )


@pytest.mark.parametrize(
    "between",
    [
        [],
        [keras.layers.ReLU(name="x")],
        [keras.layers.ReLU(negative_slope=0.1, name="x")],
        [keras.layers.Activation("relu", name="x")],
        [keras.layers.LeakyReLU(name="x")],
        [keras.layers.AveragePooling1D(2, name="x")],
        [keras.layers.ZeroPadding1D(2, name="x")],
    ],
)
def test_goes_through_what_is_positively_homogeneous(between):
    model = chain(pointwise("first"), *between, pointwise("second"))
    assert changed(model) == {("first", "second")}


def test_batch_normalization_takes_the_factors():
    model = chain(
        pointwise("first"),
        keras.layers.BatchNormalization(name="norm"),
        pointwise("second"),
    )
    assert changed(model) == {("norm", "second")}


@pytest.mark.parametrize(
    "between",
    [
        [keras.layers.ReLU(6.0, name="x")],
        [keras.layers.Activation("sigmoid", name="x")],
        [keras.layers.Activation("relu6", name="x")],
        [keras.layers.LayerNormalization(name="x")],
        [keras.layers.Flatten(name="x"), keras.layers.Reshape((40, 8))],
        [keras.layers.GroupNormalization(2, name="x")],
    ],
)
def test_stops_at_what_is_not(between):
    model = chain(pointwise("first"), *between, pointwise("second"))
    assert changed(model) == set()


@pytest.mark.parametrize(
    "first",
    [
        pointwise("first", activation="relu6"),
        pointwise("first", activation="sigmoid"),
        keras.layers.Conv1D(8, 1, groups=2, name="first"),
    ],
)
def test_stops_at_a_layer_that_is_not(first):
    assert changed(chain(first, pointwise("second"))) == set()


def test_tensor_with_two_readers_stays():
    inputs = keras.Input((40, 4), name="audio")
    x = pointwise("first")(inputs)
    y = pointwise("second")(x)
    z = keras.layers.Add()([x, y])
    model = models.randomize(keras.Model(inputs, pointwise("third")(z)))
    assert changed(model) == set()


def test_output_of_the_model_stays():
    inputs = keras.Input((40, 4), name="audio")
    x = pointwise("first")(inputs)
    y = pointwise("second")(x)
    model = models.randomize(keras.Model(inputs, [x, y]))
    assert changed(model) == set()


def test_layer_that_is_called_twice_stays():
    inputs = keras.Input((40, 8), name="audio")
    shared = pointwise("shared")
    x = shared(shared(inputs))
    model = models.randomize(keras.Model(inputs, pointwise("last")(x)))
    data = batches(models.examples(40, 8))
    assert equalization.equalize(model, data) == (model, ())


def test_several_inputs_are_taken_in_the_models_order():
    left = keras.Input((20, 2), name="left")
    right = keras.Input((20, 3), name="right")
    x = keras.layers.Concatenate()([left, right])
    x = pointwise("first", activation="relu")(x)
    model = models.randomize(keras.Model([left, right], pointwise("scores")(x)))
    first = model.get_layer("first")
    first.kernel.assign(np.asarray(first.kernel) * np.geomspace(1, 50, 8))
    source = loading.load(model)
    arrays = {
        "right": models.examples(20, 3),
        "left": models.examples(20, 2),
    }
    better, changes = equalization.equalized(
        source, models.chosen(source, arrays)
    )
    assert [change.producer for change in changes] == ["first"]
    np.testing.assert_allclose(
        better.exported(arrays)["scores"],
        source.reference(arrays)["scores"],
        atol=1e-4,
    )


def test_channels_first_stays():
    inputs = keras.Input((4, 40), name="audio")
    x = tfconv.SeparableConv1D(8, 3, data_format="channels_first")(inputs)
    x = tfconv.DepthwiseConv1D(3, data_format="channels_first")(x)
    model = models.randomize(keras.Model(inputs, x))
    data = batches(models.examples(4, 40))
    assert equalization.equalize(model, data) == (model, ())


def test_subclass_of_a_layer_stays():
    class Standardized(keras.layers.Conv1D):
        def call(self, inputs):
            self.kernel.assign(self.kernel / 1.0)
            return super().call(inputs) / keras.ops.max(self.kernel)

    model = chain(Standardized(8, 1, name="first"), pointwise("second"))
    assert changed(model) == set()


def test_saved_model_is_refused(tmp_path):
    models.linear((40, 4)).export(tmp_path / "saved", verbose=False)
    source = loading.load(tmp_path / "saved")
    with pytest.raises(tfconv_export.UsageError, match="SavedModel"):
        equalization.equalized(source, None)


def test_subclassed_model_is_refused():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = tfconv.DepthwiseConv1D(3)

        def call(self, inputs):
            return self.conv(inputs)

    model = Net()
    model(models.DATA)
    with pytest.raises(tfconv_export.UsageError, match="subclassed"):
        equalization.equalized(loading.load(model), None)
    with pytest.raises(tfconv_export.UsageError, match="functional"):
        equalization.equalize(model)
