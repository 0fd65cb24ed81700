"""From every file that holds a trained model, the file's numbers are kept."""

import base64
import contextlib
import io
import marshal
import re
import zipfile

import h5py
import keras
import pytest
import tensorflow as tf

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile

DATA = models.DATA


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


def dilated(layers, steps: int | None = 40) -> keras.Model:
    """Every kind of window, in the two layers of tfconv or of Keras."""
    return models.sequential(
        (steps, 4),
        layers.SeparableConv1D(8, 3, padding="same", dilation_rate=2),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        layers.DepthwiseConv1D(3, dilation_rate=4),
        layers.DepthwiseConv1D(4, padding="same", strides=2),
        layers.DepthwiseConv1D(3, depth_multiplier=2),
    )


def save(model, path, how: str):
    """Writes the model, one of the ways that people do; returns the path."""
    if how == "keras":
        path = path / "model.keras"
        model.save(path)
    elif how == "h5":
        path = path / "model.h5"
        # Keras logs that the format is legacy.
        with contextlib.redirect_stderr(io.StringIO()):
            model.save(path)
    elif how == "model.export":
        path = path / "saved_model"
        model.export(path, verbose=False)
    else:
        path = path / "saved_model"
        tf.saved_model.save(model, str(path))
    return path


@pytest.mark.parametrize("layers", [tfconv, keras.layers])
@pytest.mark.parametrize(
    ("how", "steps", "quantize"),
    [
        ("keras", 40, "none"),
        ("h5", None, "int8"),
        ("model.export", 40, "none"),
        ("model.export", None, "int8"),
        ("tf.saved_model.save", 40, "int8"),
        ("tf.saved_model.save", None, "none"),
    ],
)
def test_file_computes_what_the_saved_model_did(
    tmp_path, path, how, layers, steps, quantize
):
    model = dilated(layers, steps)
    expected = models.outputs_of(model, DATA)
    result = tfconv_export.export(
        save(model, tmp_path, how),
        path,
        quantize=quantize,
        representative_data=DATA,
    )
    file = TFLiteFile(path)
    assert_close(expected, file.run_one_output(DATA), quantize)
    assert result.inputs[0].shape == (1, 40, 4)
    assert file.operators["DEPTHWISE_CONV_2D"] == 4
    assert file.operators["CONV_2D"] == 1
    found = set(file.operators)
    assert found <= {
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "RESHAPE",
        # What is in a SavedModel is traced already; it is not folded.
        *(("STRIDED_SLICE",) if "saved" in how or "export" in how else ()),
    }


@pytest.mark.parametrize("how", ["model.export", "tf.saved_model.save"])
def test_causal_dilated_saved_model_stays_causal(tmp_path, path, how):
    model = models.network()
    tfconv_export.export(save(model, tmp_path, how), path)
    file = TFLiteFile(path)
    before = DATA.copy()
    after = DATA.copy()
    after[:, 20:] += 1.0
    # Two steps of input per step of output, and 2 of the 5 taps ahead.
    changed = file.run_one_output(after) != file.run_one_output(before)
    assert not changed[:, :9].any()
    assert changed[:, 9:11].any()
    assert_close(models.outputs_of(model, DATA), file.run_one_output(DATA))


def test_saved_model_signature_names_are_kept(tmp_path, path):
    @tf.function(input_signature=[tf.TensorSpec([None, 8], name="features")])
    def score(features):
        return {"twice": 2 * features, "sum": tf.reduce_sum(features, -1)}

    module = tf.Module()
    module.score = score
    directory = str(tmp_path / "saved_model")
    tf.saved_model.save(module, directory, {"serving_default": score})
    tfconv_export.export(directory, path)
    file = TFLiteFile(path)
    assert list(file.inputs) == ["features"]
    data = models.examples(8)
    found = file.run(data)
    assert set(found) == {"twice", "sum"}
    assert_close(2 * data, found["twice"])
    assert_close(data.sum(-1), found["sum"])


@pytest.mark.parametrize(
    ("how", "policy", "quantize"),
    [
        ("memory", "mixed_float16", "none"),
        ("memory", "mixed_bfloat16", "int8"),
        ("keras", "mixed_float16", "int8"),
        ("keras", "mixed_bfloat16", "none"),
        ("h5", "mixed_float16", "none"),
    ],
)
def test_mixed_precision_model_is_exported_in_full_precision(
    tmp_path, path, how, policy, quantize
):
    weights = models.network().get_weights()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = models.network()
    finally:
        keras.config.set_dtype_policy(before)
    assert mixed.layers[0].compute_dtype == policy.removeprefix("mixed_")
    mixed.set_weights(weights)
    full = models.network()
    full.set_weights(weights)
    source = mixed if how == "memory" else save(mixed, tmp_path, how)
    tfconv_export.export(
        source, path, quantize=quantize, representative_data=DATA
    )
    file = TFLiteFile(path)
    assert_close(
        models.outputs_of(full, DATA), file.run_one_output(DATA), quantize
    )
    assert keras.config.dtype_policy() == before


def test_optimizer_and_loss_of_a_trained_model_are_no_obstacle(tmp_path, path):
    model = models.network()

    @keras.saving.register_keras_serializable(package="gone", name="loss")
    def loss(labels, scores):
        return keras.ops.mean(keras.ops.abs(labels - scores))

    model.compile("adam", loss)
    model.fit(DATA, models.outputs_of(model, DATA) + 1, verbose=0)
    expected = models.outputs_of(model, DATA)
    saved = save(model, tmp_path, "keras")
    # Another process does not know it.
    del keras.saving.get_custom_objects()["gone>loss"]
    tfconv_export.export(saved, path)
    assert_close(expected, TFLiteFile(path).run_one_output(DATA))


@pytest.mark.parametrize("how", ["keras", "h5"])
def test_lambda_layer_is_exported_once_it_is_allowed(tmp_path, path, how):
    model = models.sequential(
        (40, 4),
        keras.layers.Lambda(lambda x: 2 * x, output_shape=(40, 4)),
        tfconv.DepthwiseConv1D(3),
    )
    expected = models.outputs_of(model, DATA)
    saved = save(model, tmp_path, how)
    with pytest.raises(tfconv_export.UsageError, match="Lambda"):
        tfconv_export.export(saved, path)
    assert not path.exists()
    tfconv_export.export(saved, path, unsafe_deserialization=True)
    assert_close(expected, TFLiteFile(path).run_one_output(DATA))


@pytest.mark.filterwarnings("ignore:The object being serialized includes")
def test_python_code_in_an_activation_is_refused_too(tmp_path, path):
    model = models.sequential(
        (40, 4), tfconv.DepthwiseConv1D(3, activation=lambda x: 2 * x)
    )
    saved = save(model, tmp_path, "keras")
    with pytest.raises(tfconv_export.UsageError):
        tfconv_export.export(saved, path)
    assert not path.exists()


def rewritten_config(path, change) -> None:
    """Changes the config in a .keras file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = change(members["config.json"].decode())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("own", "other", "remedy"),
    [
        ("tfconv>DepthwiseConv1D", "mine>Layer", "--custom_module=FILE"),
        ("tfconv>DepthwiseConv1D", "tfconv>OfTomorrow", "version of tfconv"),
    ],
)
def test_class_that_is_not_known_is_named_with_a_remedy(
    tmp_path, path, own, other, remedy
):
    saved = save(models.linear(), tmp_path, "keras")
    name, module = other.partition(">")[2], "tfconv.layers.depthwise_conv1d"
    rewritten_config(
        saved,
        lambda config: (
            config.replace(own, other)
            .replace('"DepthwiseConv1D"', f'"{name}"')
            .replace(module, "tfconv.tomorrow")
        ),
    )
    with pytest.raises(tfconv_export.UsageError, match=remedy) as error:
        tfconv_export.export(saved, path)
    assert name in str(error.value)


@pytest.mark.parametrize("how", ["keras", "h5"])
def test_code_of_another_python_is_told_from_damage(tmp_path, path, how):
    model = models.sequential(
        (40, 4), keras.layers.Lambda(lambda x: 2 * x, output_shape=(40, 4))
    )
    saved = save(model, tmp_path, how)
    # A code object that ends early.
    code = base64.b64encode(marshal.dumps(compile("1", "", "eval"))[:40])

    def change(config: str) -> str:
        return re.sub(r'("code": )".*?"', rf'\1"{code.decode()}"', config)

    if how == "keras":
        rewritten_config(saved, change)
    else:
        with h5py.File(saved, "r+") as file:
            file.attrs["model_config"] = change(file.attrs["model_config"])
    with pytest.raises(tfconv_export.UsageError, match="version of Python"):
        tfconv_export.export(saved, path, unsafe_deserialization=True)


@pytest.mark.parametrize(
    ("layer", "quantize"),
    [
        (
            keras.layers.SeparableConv1D(4, 3, strides=2, dilation_rate=3),
            "int8",
        ),
        (
            keras.layers.DepthwiseConv1D(
                3, strides=3, dilation_rate=2, padding="same"
            ),
            "none",
        ),
        (
            keras.layers.DepthwiseConv2D(
                3, strides=2, dilation_rate=2, padding="same"
            ),
            "none",
        ),
    ],
)
def test_strides_with_dilation_are_one_operator(path, layer, quantize):
    shape = (21, 9, 4) if layer.rank == 2 else (21, 4)
    data = models.examples(*shape, count=32)
    model = models.sequential(shape, layer)
    tfconv_export.export(
        model, path, quantize=quantize, representative_data=data
    )
    file = TFLiteFile(path)
    assert_close(
        models.outputs_of(model, data), file.run_one_output(data), quantize
    )
    assert file.operators["DEPTHWISE_CONV_2D"] == 1
    assert set(file.operators) <= {"DEPTHWISE_CONV_2D", "CONV_2D", "RESHAPE"}


def hard_swish(x):
    return x * keras.ops.relu6(x + 3.0) / 6.0


@pytest.mark.parametrize(
    "activation", [hard_swish, lambda x: hard_swish(x)], ids=["def", "lambda"]
)
def test_activations_of_the_user_s_own_are_exported(path, activation):
    model = models.sequential(
        (40, 4),
        tfconv.SeparableConv1D(8, 3, activation=activation),
        keras.layers.Activation(activation),
        keras.layers.Dense(4, activation=activation),
    )
    tfconv_export.export(model, path)
    assert_close(
        models.outputs_of(model, DATA), TFLiteFile(path).run_one_output(DATA)
    )


# Keras takes all of them; TensorFlow's functions change or refuse each.
NAMES = {
    "0audio": "0audio",
    "Audio": "Audio",
    "a.b": "a.b",
    "class": "class",
    "self": "self_",
    "my input": "my_input",
    "größe": "gr__e",
    "_x": "x",
}


def test_inputs_may_be_called_as_keras_lets_them(path):
    inputs = {name: keras.Input((20, 4), name=name) for name in NAMES}
    scales = [
        keras.layers.Rescaling(float(index))(x)
        for index, x in enumerate(inputs.values(), 1)
    ]
    model = keras.Model(inputs, keras.layers.Add()(scales))
    data = {
        name: models.examples(20, 4, count=8, seed=index)
        for index, name in enumerate(NAMES)
    }
    result = tfconv_export.export(
        model, path, quantize="int8", representative_data=data
    )
    assert {item.name for item in result.inputs} == set(NAMES.values())
    file = TFLiteFile(path)
    given = {NAMES[name]: values for name, values in data.items()}
    (found,) = file.run(given).values()
    expected = sum(i * x for i, x in enumerate(data.values(), 1))
    assert_close(expected, found, "int8")


def test_streams_may_be_called_so_too(path):
    x = keras.Input((20, 4), name="0audio")
    model = keras.Model(x, tfconv.DepthwiseConv1D(3, name="1.score")(x))
    result = tfconv_export.export_streaming(model, path, hop=2)
    assert [item.name for item in result.inputs] == ["0audio"]
    assert [item.name for item in result.outputs] == ["1.score"]


def test_model_that_does_not_take_an_example_says_why(tmp_path, path):
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32)])
    def serve(x):
        tf.debugging.assert_less(x, -9.0, "too loud")
        return {"y": 2.0 * x}

    saved = tmp_path / "saved"
    tf.saved_model.save(module, saved, signatures=serve)
    with pytest.raises(tfconv_export.CheckError) as error:
        tfconv_export.export(saved, path)
    (failed,) = error.value.result.failed
    assert "too loud" in failed.detail
    assert "\n" not in failed.detail
    assert not path.exists()
