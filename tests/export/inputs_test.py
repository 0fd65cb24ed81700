"""Models of several inputs and outputs, of signatures, of one's own code."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
import tfconv_export
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile

MOTION = models.examples(10, 3, count=32, seed=2)
DATA = {"audio": models.DATA, "motion": MOTION}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


def two_inputs(layers=tfconv) -> keras.Model:
    audio = keras.Input((40, 4), name="audio")
    motion = keras.Input((10, 3), name="motion")
    x = layers.DepthwiseConv1D(3, padding="same", strides=4)(audio)
    y = layers.SeparableConv1D(4, 3, padding="same", name="beside")(motion)
    scores = keras.layers.Concatenate(name="scores")([x, y])
    return models.randomize(keras.Model([audio, motion], [scores, y]))


@pytest.mark.parametrize("quantize", ["none", "int8", "int16x8"])
def test_file_of_two_inputs_takes_and_gives_them_by_name(path, quantize):
    model = two_inputs()
    tfconv_export.export(
        model, path, quantize=quantize, representative_data=DATA
    )
    file = TFLiteFile(path)
    assert set(file.inputs) == {"audio", "motion"}
    found = file.run(DATA)
    for name, expected in zip(
        ("scores", "beside"), model([*DATA.values()]), strict=True
    ):
        if quantize == "none":
            assert_close(expected.numpy(), found[name])
        else:
            error = found[name] - expected.numpy()
            assert np.square(error).mean() < 0.01 * np.var(expected.numpy())


def test_example_counts_of_two_inputs_have_to_agree(path):
    with pytest.raises(tfconv_export.UsageError, match="31"):
        tfconv_export.export(
            two_inputs(),
            path,
            representative_data=DATA | {"motion": MOTION[:31]},
        )


def test_open_shapes_of_two_inputs_are_fixed_by_name(path):
    audio = keras.Input((None, 4), name="audio")
    motion = keras.Input((None, 3), name="motion")
    outputs = [
        tfconv.DepthwiseConv1D(3, name="a")(audio),
        tfconv.DepthwiseConv1D(3, name="m")(motion),
    ]
    model = models.randomize(keras.Model([audio, motion], outputs))
    shapes = {"audio": (21, 4), "motion": (12, 3)}
    tfconv_export.export(model, path, input_shape=shapes)
    file = TFLiteFile(path)
    for name, shape in shapes.items():
        assert tuple(file.inputs[name]["shape"]) == (1, *shape)
    for wrong, reason in (
        ((21, 4), "audio, motion"),
        ({"sound": (21, 4)}, "names no input"),
        ({"audio": (21, 4)}, "motion"),
    ):
        with pytest.raises(tfconv_export.UsageError, match=reason):
            tfconv_export.export(model, path, input_shape=wrong, overwrite=True)


def test_a_signature_of_a_saved_model_can_be_chosen(tmp_path, path):
    module = tf.Module()
    spec = tf.TensorSpec((None, 40, 4))
    tf.saved_model.save(
        module,
        tmp_path / "saved",
        signatures={
            name: tf.function(
                lambda x, factor=factor: {"y": factor * x}
            ).get_concrete_function(spec)
            for name, factor in (("double", 2.0), ("triple", 3.0))
        },
    )
    tfconv_export.export(tmp_path / "saved", path, signature="triple")
    assert_close(3 * models.DATA, TFLiteFile(path).run_one_output(models.DATA))
    for options, reason in (
        ({}, "--signature: .*double"),
        ({"signature": "half"}, "no signature half; it has: .*double"),
    ):
        with pytest.raises(tfconv_export.UsageError, match=reason):
            tfconv_export.export(
                tmp_path / "saved", path, overwrite=True, **options
            )


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """Keras's layers in Python code, with two outputs in a dict."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.SeparableConv1D(
            8, 3, padding="same", dilation_rate=2, activation="relu"
        )
        self.second = keras.layers.DepthwiseConv1D(3)

    def call(self, inputs, training=None):
        x = self.first(inputs)
        return {"all": self.second(x), "last": x[:, -1]}


def subclassed(**kwargs) -> keras.Model:
    model = Subclassed(**kwargs)
    model(models.DATA)
    return models.randomize(model)


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_subclassed_model_is_exported_one_operator_a_layer(
    tmp_path, path, where, quantize
):
    model = subclassed()
    expected = model(models.DATA)
    given = model
    if where == "file":
        given = tmp_path / "model.keras"
        model.save(given)
    result = tfconv_export.export(
        given, path, quantize=quantize, representative_data=models.DATA
    )
    assert result.operators["DEPTHWISE_CONV_2D"] == 2
    assert "SPACE_TO_BATCH_ND" not in result.operators
    found = TFLiteFile(path).run(models.DATA)
    for name in ("all", "last"):
        error = found[name] - expected[name].numpy()
        limit = 1e-10 if quantize == "none" else 0.01
        assert np.square(error).mean() < limit * np.var(expected[name].numpy())


def test_subclassed_model_stays_as_it_was(path):
    model = subclassed()
    before = model(models.DATA)["all"].numpy()
    tfconv_export.export(model, path)
    assert "call" not in vars(model.first)
    np.testing.assert_array_equal(model(models.DATA)["all"].numpy(), before)


def test_subclassed_model_in_mixed_precision_is_exported_in_float32(path):
    model = subclassed(dtype="mixed_float16")
    for layer in (model.first, model.second):
        layer.dtype_policy = "mixed_float16"
    tfconv_export.export(model, path)
    assert model.first.compute_dtype == "float16"
    for layer in (model, model.first, model.second):
        layer.dtype_policy = "float32"
    expected = model(models.DATA)["all"].numpy()
    assert_close(expected, TFLiteFile(path).run(models.DATA)["all"])


class TwoArguments(keras.Model):
    """A model of which Keras remembers one input."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = keras.layers.Dense(3, name="scores")

    def call(self, audio, motion, training=None):
        ends = audio[:, -1], motion[:, -1]
        return self.head(keras.ops.concatenate(ends, axis=-1))


def test_inputs_that_keras_forgets_are_a_usage_error_with_a_way_out(path):
    model = TwoArguments()
    expected = model(models.DATA, MOTION).numpy()
    with pytest.raises(tfconv_export.UsageError, match="audio and motion"):
        tfconv_export.export(model, path)
    audio = keras.Input((40, 4), name="audio")
    motion = keras.Input((10, 3), name="motion")
    functional = keras.Model([audio, motion], model(audio, motion))
    tfconv_export.export(functional, path)
    (found,) = TFLiteFile(path).run(DATA).values()
    assert_close(expected, found)


class Unclonable(keras.layers.Layer):
    """A layer that does not take what its config says."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def call(self, inputs):
        return self.scale * inputs


def test_layer_that_cannot_be_made_anew_is_a_usage_error(path):
    model = models.sequential((40, 4), Unclonable(2.0))
    with pytest.raises(tfconv_export.UsageError, match="Unclonable"):
        tfconv_export.export(model, path)


CUSTOM = """
import keras

@keras.saving.register_keras_serializable("mine")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2 * inputs
"""


def test_custom_module_makes_own_layers_known(run, workplace):
    (workplace / "layers.py").write_text(CUSTOM)
    namespace = {}
    exec(CUSTOM, namespace)
    models.sequential((40, 4), namespace["Twice"](name="twice")).save(
        workplace / "custom.keras"
    )
    del keras.saving.get_custom_objects()["mine>Twice"]
    arguments = "--model=custom.keras", "--output=out.tflite"
    assert run(*arguments).status == 2
    outcome = run(*arguments, "--custom_module=layers.py")
    assert outcome.status == 0, outcome.stderr
    file = TFLiteFile(workplace / "out.tflite")
    assert_close(2 * models.DATA, file.run_one_output(models.DATA))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.py", None, "that exists"),
        ("layers.txt", CUSTOM, "must be a Python file"),
        ("broken.py", "import keras\n1 / 0\n", "ZeroDivisionError"),
        ("syntax.py", "def\n", "SyntaxError"),
    ],
)
def test_custom_module_that_cannot_run(
    workplace, refused, name, content, reason
):
    if content is not None:
        (workplace / name).write_text(content)
    sentence = refused(
        "--model=model.keras", "--output=out.tflite", f"--custom_module={name}"
    )
    assert reason in sentence
