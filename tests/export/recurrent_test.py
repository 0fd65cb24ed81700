"""LSTM layers as one operator, beside Keras; and what is refused instead."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv_export
from tests.export import closeness
from tests.export import models
from tests.export import tflite
from tfconv_export import flatbuffer
from tfconv_export import graph_contents
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization import scales
from tfconv_export.report import terminal
from tfconv_export.runtimes import KERNELS

LAYERS = keras.layers
LSTM = "UNIDIRECTIONAL_SEQUENCE_LSTM"
UNITS = 5

# They drift slowly, as what an LSTM is trained on does.
DATA = np.cumsum(models.examples(12, 4, count=24), axis=1) * np.float32(0.3)

# A wrong scale or a state that is kept leaves 5 to 15 dB.
MIN_DB = 27.0


def zoo() -> keras.Model:
    """One model of all that is fused, each way its own output."""
    inputs = keras.Input((12, 4), name="audio")

    def both(mode, sequences):
        layer = LAYERS.LSTM(UNITS, return_sequences=sequences)
        return LAYERS.Bidirectional(layer, merge_mode=mode)(inputs)

    whole = LAYERS.LSTM(UNITS, return_sequences=True)(inputs)
    _, hidden, _ = LAYERS.LSTM(UNITS, return_state=True)(inputs)
    nested = models.sequential(
        (12, 4), LAYERS.LSTM(UNITS, name="inner"), name="nested"
    )
    return models.randomize(
        keras.Model(
            inputs,
            {
                "last": LAYERS.LSTM(UNITS, recurrent_dropout=0.5)(inputs),
                "whole": whole,
                "backwards": LAYERS.LSTM(
                    UNITS, return_sequences=True, go_backwards=True
                )(inputs),
                "stacked": LAYERS.LSTM(UNITS, name="upper")(whole),
                "without_bias": LAYERS.LSTM(UNITS, use_bias=False)(inputs),
                "of_a_cell": LAYERS.RNN(LAYERS.LSTMCell(UNITS))(inputs),
                "hidden": hidden,
                "nested": nested(inputs),
                "both": both("concat", True),
                "both_last": both("concat", False),
                "sum": both("sum", True),
                "product": both("mul", False),
                "mean": both("ave", True),
            },
        )
    )


@pytest.fixture(scope="module")
def model():
    return zoo()


@pytest.fixture(scope="module", params=["none", "int8"])
def exported(request, model, tmp_path_factory):
    """The mode, the result and the path of an export."""
    path = tmp_path_factory.mktemp(request.param) / "model.tflite"
    result = tfconv_export.export(
        model, path, quantize=request.param, representative_data=DATA
    )
    return request.param, result, path


def fresh(file, examples, kernels: str) -> dict[str, np.ndarray]:
    """Every example in an interpreter of its own, which has no state yet."""
    runs = [
        tflite.TFLiteFile(file, kernels).run(example[np.newaxis])
        for example in examples
    ]
    return {
        name: np.concatenate([run[name] for run in runs]) for name in runs[0]
    }


def test_every_layer_is_one_operator_and_close_to_keras(model, exported):
    mode, result, path = exported
    assert result.operators[LSTM] == 18
    assert "WHILE" not in result.operators
    expected = model.predict(DATA[:6], verbose=0)
    found = fresh(path, DATA[:6], "reference")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if mode == "none":
            error = closeness.relative_error(value, found[name])
            assert error <= closeness.MAX_FLOAT32_ERROR, name
        else:
            assert closeness.decibels(value, found[name]) >= MIN_DB, name


def test_every_comparison_begins_anew_with_every_window(exported):
    mode, result, _ = exported
    assert result.keeps_state
    for agreement in result.agreements:
        assert agreement.sqnr_db >= (MIN_DB if mode == "int8" else 90)
    for layer in result.layers:
        assert layer.sqnr_db >= MIN_DB


def test_operators_belong_to_their_layers(exported):
    mode, result, _ = exported
    if mode == "none":
        pytest.skip("nothing is compared layer by layer")
    named = [layer.layer for layer in result.layers if layer.operator == LSTM]
    assert {"upper", "nested/inner"} <= set(named)
    assert len(set(named)) == len(named) == 18


def test_output_in_another_scale_than_the_kernels_is_found(exported, offer):
    mode, _, path = exported
    if mode == "none":
        pytest.skip("float has no scales")
    content = path.read_bytes()
    facts = flatbuffer.read(scales.corrected(content))
    assert facts.operators == flatbuffer.read(content).operators
    file = flatbuffer_edit.read(content)
    lstm = next(
        operator
        for operator in file.subgraphs[0].operators
        if flatbuffer_edit.kind_of(file, operator) == LSTM
    )
    quantization = file.subgraphs[0].tensors[lstm.outputs[0]].quantization
    # Not the object that the state has as well.
    quantization.scale = quantization.scale * 1.5
    failed = offer(
        zoo(),
        flatbuffer_edit.write(file),
        0,
        quantize="int8",
        representative_data=DATA,
    )
    assert "arithmetic" in failed


def test_device_is_told_to_reset_before_every_window(tmp_path, capsys):
    path = tmp_path / "model.tflite"
    result = tfconv_export.export(
        models.sequential((12, 4), LAYERS.LSTM(2, name="scores")),
        path,
        target="micro",
        representative_data=DATA,
        c_array=tmp_path / "model.cc",
        golden_dir=tmp_path / "golden",
        report=tmp_path / "report.json",
        report_dir=tmp_path / "report",
    )
    assert any("Micro" in item.runtime for item in result.agreements)
    assert json.loads((tmp_path / "report.json").read_text())["keeps_state"]
    assert "interpreter.Reset()" in result.target.resolver
    for name in ("model.h", "golden/golden.h", "report/report.html"):
        text = (tmp_path / name).read_text().replace("\n// ", " ")
        assert "reset it before every window" in text
    terminal.print_table(result)
    terminal.print_facts("a", flatbuffer.read_file(path))
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("reset it before every window") == 2
    # Golden vectors are those of a device that does so.
    inputs = np.load(tmp_path / "golden" / "input_audio.npy")
    golden = np.load(tmp_path / "golden" / "output_scores.npy")
    found = fresh(path, inputs, "reference")["scores"]
    # TFLite Micro, which made them, sums in another order.
    np.testing.assert_allclose(golden, found, rtol=0, atol=1e-6)


def counting() -> keras.Model:
    """A carry that grows by one with every step, and shrinks with others."""
    model = models.sequential((40, 2), LAYERS.LSTM(1, name="scores"))
    # The gates input, forget, new and output.
    kernel, recurrent, bias = np.zeros((2, 4)), np.zeros((1, 4)), np.zeros(4)
    kernel[0, 2] = 20.0
    bias[:] = 20.0, 20.0, 0.0, 20.0
    model.set_weights([kernel, recurrent, bias])
    return model


def test_carry_grows_beyond_the_converters_limit_of_ten(tmp_path):
    steps = np.repeat([1.0, -1.0], [22, 18])
    examples = np.tile(steps[None, :, None], (2, 1, 2)).astype(np.float32)
    examples[1] *= -1
    expected = models.outputs_of(counting(), examples)
    path = tmp_path / "model.tflite"
    tfconv_export.export(counting(), path, representative_data=examples)
    # Limited to 10 it were -8 at the end, and not 4.
    np.testing.assert_allclose(np.abs(expected), np.tanh(4), rtol=1e-4)
    found = fresh(path, examples, "builtin")["scores"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("kernels", [*KERNELS, "micro"])
def test_small_carry_has_a_scale_that_every_kernel_knows(kernels, small):
    model, content = small
    expected = models.outputs_of(model, DATA[:4])
    found = fresh(content, DATA[:4], kernels)["scores"]
    assert closeness.decibels(expected, found) >= MIN_DB


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    model = models.sequential((12, 4), LAYERS.LSTM(3, name="scores"))
    model.set_weights([0.1 * weight for weight in model.get_weights()])
    path = tmp_path_factory.mktemp("small") / "model.tflite"
    tfconv_export.export(model, path, quantize="int8", representative_data=DATA)
    return model, path.read_bytes()


def test_reversal_before_a_concatenation_keeps_its_scale(tmp_path):
    inputs = keras.Input((12, 4), name="audio")
    loud = LAYERS.Dense(3, activation="relu")(inputs)
    quiet = LAYERS.Dense(3)(inputs)
    merged = LAYERS.Concatenate()([keras.ops.flip(quiet, 1), 4.0 * loud])
    model = models.randomize(keras.Model(inputs, LAYERS.Dense(2)(merged)))
    path = tmp_path / "model.tflite"
    tfconv_export.export(model, path, quantize="int8", representative_data=DATA)
    expected = models.outputs_of(model, DATA[:6])
    found = tflite.TFLiteFile(path).run_one_output(DATA[:6])
    assert closeness.decibels(expected, found) >= MIN_DB


def chained(**options) -> keras.Model:
    """An LSTM that begins with the states of another."""
    inputs = keras.Input((12, 4), name="audio")
    states = LAYERS.LSTM(3, return_state=True, name="first", **options)(inputs)
    second = LAYERS.LSTM(3, name="second", **options)
    return keras.Model(inputs, second(inputs, initial_state=states[1:]))


def of(*layers: keras.Layer) -> keras.Model:
    return models.sequential((12, 4), *layers)


def carried() -> keras.Model:
    inputs = keras.Input((12, 4), name="audio")
    return keras.Model(inputs, LAYERS.LSTM(3, return_state=True)(inputs)[2])


@pytest.mark.parametrize(
    "named, network",
    [
        ("gru", lambda: of(LAYERS.GRU(3, name="gru"))),
        ("plain", lambda: of(LAYERS.SimpleRNN(3, name="plain"))),
        ("relu", lambda: of(LAYERS.LSTM(3, activation="relu", name="relu"))),
        (
            "hard",
            lambda: of(
                LAYERS.LSTM(3, recurrent_activation="relu", name="hard")
            ),
        ),
        ("masked", lambda: of(LAYERS.Masking(), LAYERS.LSTM(3, name="masked"))),
        ("first, second", chained),
        ("lstm", carried),
    ],
)
def test_what_has_no_operator_is_refused_in_integers_by_name(
    named, network, tmp_path
):
    keras.utils.clear_session()
    path = tmp_path / "model.tflite"
    options = {"quantize": "int8", "representative_data": DATA}
    with pytest.raises(
        tfconv_export.CheckError, match=f"computes {named} in a loop"
    ):
        tfconv_export.export(network(), path, **options)
    assert not path.exists()


def test_lstm_in_int16x8_is_refused_with_what_works(tmp_path):
    model = of(LAYERS.LSTM(3, name="first"), LAYERS.Dense(2))
    options = {"quantize": "int16x8", "representative_data": DATA}
    with pytest.raises(
        tfconv_export.CheckError, match=r"first in a loop.*unroll.*=int8"
    ):
        tfconv_export.export(model, tmp_path / "model.tflite", **options)


def test_what_has_no_operator_is_a_loop_in_float(tmp_path):
    path = tmp_path / "model.tflite"
    result = tfconv_export.export(chained(), path, representative_data=DATA)
    assert result.operators["WHILE"] == 2
    assert not result.keeps_state


@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
@pytest.mark.parametrize("layer", [LAYERS.GRU, LAYERS.LSTM])
def test_unroll_works_as_the_refusal_says(layer, quantize, tmp_path):
    model = models.sequential(
        (3, 4), LAYERS.Bidirectional(layer(2, unroll=True))
    )
    path = tmp_path / "model.tflite"
    data = DATA[:, :3]
    result = tfconv_export.export(
        model, path, quantize=quantize, representative_data=data
    )
    assert not result.keeps_state
    expected = models.outputs_of(model, data)
    found = tflite.TFLiteFile(path).run_one_output(data)
    # The errors of the weights add up from step to step.
    assert closeness.decibels(expected, found) >= 20


def test_layer_that_keeps_its_state_between_calls_is_refused(tmp_path):
    inputs = keras.Input((12, 4), batch_size=1, name="audio")
    layer = LAYERS.LSTM(3, stateful=True, name="remembers")
    with pytest.raises(
        tfconv_export.CheckError, match=r"to the next in remembers, .*=False"
    ):
        tfconv_export.export(
            keras.Model(inputs, layer(inputs)), tmp_path / "model.tflite"
        )


def test_stream_names_unroll_for_a_recurrent_layer(tmp_path):
    def stream(**options):
        layer = LAYERS.LSTM(2, name="held", **options)
        return tfconv_export.export_streaming(
            models.sequential((3, 4), layer),
            tmp_path / "model.tflite",
            1,
            fallback="buffer",
            quantize="int8",
            representative_data=DATA[:, :3],
        )

    with pytest.raises(
        tfconv_export.CheckError, match=r"held in a loop, .* unroll=True"
    ):
        stream()
    assert not stream(unroll=True).facts.keeps_state


def saved(layer, path):
    """The path of a SavedModel that calls a layer of Keras 2."""
    module = tf.Module()
    module.layer = layer
    function = tf.function(lambda audio: {"scores": layer(audio)})
    concrete = function.get_concrete_function(tf.TensorSpec((None, 12, 4)))
    tf.saved_model.save(module, path, signatures=concrete)
    return path


@pytest.mark.filterwarnings("ignore")  # those of tf-keras
def test_keras_2_is_fused_and_its_loops_are_found_in_called_functions(tmp_path):
    layers = pytest.importorskip("tf_keras").layers
    options = {"quantize": "int8", "representative_data": DATA}
    result = tfconv_export.export(
        saved(layers.LSTM(3), tmp_path / "lstm"),
        tmp_path / "model.tflite",
        **options,
    )
    assert result.operators[LSTM] == 1
    assert min(item.sqnr_db for item in result.agreements) >= MIN_DB
    for refused in (layers.GRU(3), layers.LSTM(3, activation="relu")):
        with pytest.raises(tfconv_export.CheckError, match="in a loop"):
            tfconv_export.export(
                saved(refused, tmp_path / refused.name),
                tmp_path / "other.tflite",
                **options,
            )


def test_loops_are_found_in_branches_and_calls_and_only_once():
    @tf.function(autograph=False)
    def inner(x):
        return tf.while_loop(lambda y: y < 9.0, lambda y: [y + 1.0], [x])[0]

    @tf.function(autograph=False)
    def outer(x):
        return tf.cond(x > 0.0, lambda: inner(x), lambda: inner(x) - inner(x))

    @tf.function(autograph=False)
    def without(x):
        return tf.cond(x > 0.0, lambda: x, lambda: -x)

    spec = tf.TensorSpec(())
    graphs = [
        function.get_concrete_function(spec).graph.as_graph_def()
        for function in (outer, without)
    ]
    assert len(graph_contents.loops(graphs[0])) == 1
    assert not graph_contents.loops(graphs[1])
