"""The Python call: what it returns, and what it leaves alone."""

import dataclasses
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
import tfconv_export
from tests.export import models
from tests.export.tflite import TFLiteFile
from tfconv_export import calibration
from tfconv_export import comparison
from tfconv_export import loading
from tfconv_export import reference
from tfconv_export.data.sources import open_data
from tfconv_export.runtimes import LiteRT


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tflite"


def imported_by(statement: str) -> set[str]:
    """The modules that a new process has after a statement."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path[:] = {sys.path!r}; {statement}; "
            "print(*sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_is_light():
    modules = imported_by(
        "import tfconv_export; tfconv_export.UsageError; "
        "tfconv_export.CheckError"
    )
    assert "tfconv_export" in modules
    heavy = {"tensorflow", "keras", "numpy", "ai_edge_litert", "rich", "absl"}
    assert not heavy & modules


def test_flags_of_the_command_are_not_defined_by_the_python_call():
    statement = "import tfconv_export.exporting as e; e.export"
    assert "tfconv_export.cli" not in imported_by(statement)


def test_all_that_is_public_is_there():
    for name in tfconv_export.__all__:
        assert getattr(tfconv_export, name).__doc__
    with pytest.raises(AttributeError, match="exprot"):
        tfconv_export.exprot  # noqa: B018


def test_errors_are_what_a_caller_would_catch():
    assert issubclass(tfconv_export.UsageError, ValueError)
    assert issubclass(tfconv_export.CheckError, RuntimeError)


@pytest.mark.parametrize("count", [1, 230])
def test_result_says_what_is_in_the_file(path, count):
    data = models.examples(40, 4, count=count)
    result = tfconv_export.export(
        models.network(), path, quantize="int8", representative_data=data
    )
    file = TFLiteFile(path)
    assert isinstance(result, tfconv_export.ExportResult)
    assert result.model == "net"
    assert pathlib.Path(result.output) == path
    assert result.size == path.stat().st_size
    assert result.operators == dict(file.operators)
    assert [result.inputs[0].name] == list(file.inputs)
    assert list(result.inputs[0].shape) == list(file.inputs["audio"]["shape"])
    assert result.model_size is None
    assert result.quantize == "int8"
    assert result.io_dtype == "int8"
    assert 0 < result.examples <= count
    assert {a.output for a in result.agreements} == set(file.outputs)
    for agreement in result.agreements:
        assert 0 < agreement.examples <= result.examples
        # Reference kernels take long, and run a few of them.
        if "reference" not in agreement.runtime:
            assert agreement.examples == result.examples
    assert result.failed == ()
    assert all(check.passed for check in result.checks)


def test_result_cannot_be_changed(path):
    result = tfconv_export.export(models.linear(), path)
    for frozen in (result, result.checks[0], result.agreements[0]):
        for field in dataclasses.fields(frozen):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(frozen, field.name, None)


def test_result_tells_the_size_of_the_model_on_disk(tmp_path, path):
    models.linear().save(tmp_path / "model.keras")
    result = tfconv_export.export(tmp_path / "model.keras", path)
    assert result.model_size == (tmp_path / "model.keras").stat().st_size
    models.linear().export(tmp_path / "saved_model", verbose=False)
    result = tfconv_export.export(
        tmp_path / "saved_model", path, overwrite=True
    )
    assert result.model_size == sum(
        file.stat().st_size
        for file in (tmp_path / "saved_model").rglob("*")
        if file.is_file()
    )


KERNELS = ("xnnpack", "builtin", "reference")


def test_agreement_is_computed_as_its_documentation_says(tmp_path, path):
    # The file's outputs are off by a known number, everywhere.
    model, other = models.linear(), models.linear()
    kernel, bias = model.get_weights()
    other.set_weights([kernel, bias + 0.125])
    tfconv_export.export(other, path)
    data = models.examples(20, 4, count=9)
    source = loading.load(model)
    compared = comparison.compare(
        [LiteRT(path.read_bytes(), kernels) for kernels in KERNELS],
        reference.Reference(source),
        calibration.choose(open_data(data), source.inputs),
    )
    assert len(compared.agreements) == len(compared.scatters) == 3
    assert [len(found) for found in compared.computed.values()] == [9, 9, 9]
    assert compared.warnings == ()
    outputs = models.outputs_of(model, data).astype(np.float64)
    width = max(outputs.max(), 0) - min(outputs.min(), 0)
    noise = outputs.size * 0.125**2
    for agreement in compared.agreements:
        assert agreement.examples == 9
        assert agreement.finite
        # float32 adds its own rounding to the known error.
        assert agreement.max_error == pytest.approx(0.125, rel=1e-4)
        assert agreement.relative_error == pytest.approx(
            0.125 / width, rel=1e-4
        )
        assert agreement.sqnr_db == pytest.approx(
            10 * np.log10(np.square(outputs).sum() / noise), abs=1e-3
        )
    for scatter in compared.scatters:
        difference = np.subtract(scatter.found, scatter.expected)
        np.testing.assert_allclose(difference, 0.125, rtol=1e-4)


def trained() -> keras.Model:
    """A compiled model with a layer that is shared, and one of Keras's."""
    shared = tfconv.DepthwiseConv1D(3, padding="same", name="shared")
    inputs = keras.Input((40, 4), name="audio")
    x = keras.layers.BatchNormalization(axis=2)(shared(shared(inputs)))
    x = keras.layers.SeparableConv1D(4, 3, name="theirs")(x)
    model = models.randomize(keras.Model(inputs, x))
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae"])
    model.fit(models.DATA, models.DATA[:, 2:], epochs=1, verbose=0)
    model.get_layer("theirs").trainable = False
    return model


@pytest.mark.parametrize(
    ("quantize", "policy"), [("none", "float32"), ("int8", "mixed_float16")]
)
def test_model_is_left_as_it_was(path, quantize, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = trained()
    finally:
        keras.config.set_dtype_policy(before)
    weights = model.get_weights()
    moments = [np.array(v) for v in model.optimizer.variables]
    config = model.get_config()
    layers = list(model.layers)
    state = model.optimizer, model.loss, model.stop_training, model.trainable
    outputs = models.outputs_of(model, models.DATA)
    tfconv_export.export(
        model, path, quantize=quantize, representative_data=models.DATA
    )
    for found, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    for found, expected in zip(model.optimizer.variables, moments, strict=True):
        np.testing.assert_array_equal(np.array(found), expected)
    assert model.get_config() == config
    assert list(model.layers) == layers
    assert state == (
        model.optimizer,
        model.loss,
        model.stop_training,
        model.trainable,
    )
    assert not model.get_layer("theirs").trainable
    np.testing.assert_array_equal(
        models.outputs_of(model, models.DATA), outputs
    )
    model.fit(models.DATA, models.DATA[:, 2:], epochs=1, verbose=0)


def test_layers_of_the_model_are_not_called_into_another(path):
    # A Lambda cannot be made anew from its config.
    model = models.sequential(
        (40, 4),
        keras.layers.Lambda(lambda x: 2 * x, output_shape=(40, 4)),
        tfconv.DepthwiseConv1D(3),
    )
    calls = [len(layer._inbound_nodes) for layer in model.layers]
    tfconv_export.export(model, path)
    assert [len(layer._inbound_nodes) for layer in model.layers] == calls


def test_representative_data_is_left_as_it_was(path):
    data = models.DATA.astype(np.float64)
    data.flags.writeable = False
    tfconv_export.export(
        models.network(), path, quantize="int8", representative_data=data
    )
    np.testing.assert_array_equal(data, models.DATA)


def test_state_of_the_process_is_left_as_it_was(path, capfd):
    keras.utils.set_random_seed(3)
    expected = np.random.rand(), float(tf.random.normal([]))
    keras.utils.set_random_seed(3)
    errors = np.geterr()
    options = np.get_printoptions()
    capfd.readouterr()
    tfconv_export.export(
        models.network(),
        path,
        quantize="int8",
        representative_data=models.DATA,
    )
    assert capfd.readouterr().out == ""
    assert expected == (np.random.rand(), float(tf.random.normal([])))
    assert np.geterr() == errors
    assert np.get_printoptions() == options
    assert keras.config.dtype_policy().name == "float32"
    assert not tfconv.ops.tracing._exporting.get()


@pytest.mark.parametrize(
    "wrap", [np.asarray, list, tf.constant], ids=lambda w: w.__name__
)
def test_representative_data_may_be_any_array(path, wrap):
    result = tfconv_export.export(
        models.network(),
        path,
        quantize="int8",
        representative_data=wrap(models.DATA),
    )
    assert result.examples == len(models.DATA)


@pytest.mark.parametrize("wrap", [str, pathlib.Path])
def test_paths_may_be_strings_or_paths(tmp_path, path, wrap):
    models.linear((40, 4)).save(tmp_path / "model.keras")
    np.save(tmp_path / "data.npy", models.DATA)
    tfconv_export.export(
        wrap(tmp_path / "model.keras"),
        wrap(path),
        representative_data=wrap(tmp_path / "data.npy"),
        report=wrap(tmp_path / "report.json"),
    )
    assert path.exists()
    assert (tmp_path / "report.json").exists()


def test_model_in_memory_may_have_the_name_of_the_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = models.sequential(
        (20, 4), tfconv.DepthwiseConv1D(3), name="wake_word"
    )
    tfconv_export.export(model, "wake_word")
    assert (tmp_path / "wake_word").stat().st_size > 0


def test_unknown_mode_is_a_usage_error_that_lists_them(path):
    with pytest.raises(tfconv_export.UsageError) as caught:
        tfconv_export.export(models.linear(), path, quantize="int2")
    for mode in ("none", "float16", "dynamic", "int8", "int16x8"):
        assert mode in str(caught.value)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = tfconv.DepthwiseConv1D(3)

    def call(self, inputs):
        return self.convolution(inputs)


@pytest.mark.parametrize(
    "model", [Subclassed, lambda: keras.Sequential([tfconv.DepthwiseConv1D(3)])]
)
def test_model_that_was_never_called_is_a_usage_error(path, model):
    with pytest.raises(tfconv_export.UsageError, match="not called yet"):
        tfconv_export.export(model(), path)
    assert not path.exists()
