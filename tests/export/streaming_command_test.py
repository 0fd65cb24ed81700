"""`tfconv-export --stream_hop`: files that go frame by frame, by the command.

What is in the files is tested beside; here, that all that the command offers
is made of the right one.
"""

import json
import runpy

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

import tfconv
import tfconv_export
from tests.export import models
from tfconv_export import metadata

WINDOW, CHANNELS, HOP = 40, 4, 4

_SUBCLASSED = """
import keras

@keras.saving.register_keras_serializable("mine")
class Network(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.mix = keras.layers.Conv1D(4, 3)

    def call(self, inputs):
        return self.mix(inputs)
"""


def network(steps: int | None = WINDOW) -> keras.Model:
    """Strided, of valid padding: one output vector."""
    inputs = keras.Input((steps, CHANNELS), name="audio")
    x = tfconv.SeparableConv1D(8, 5, strides=2, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = tfconv.DepthwiseConv1D(3, dilation_rate=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(3, name="scores")(x)
    return models.randomize(keras.Model(inputs, x, name="network"))


@pytest.fixture
def stream(run, workplace):
    """Runs the command on `network`, for a stream in int8 if nothing else."""
    network().save(workplace / "stream.keras")

    def command(*arguments: str):
        return run(
            "--model=stream.keras",
            "--output=out.tflite",
            "--representative_data=data.npy",
            "--quantize=int8",
            f"--stream_hop={HOP}",
            *arguments,
        )

    return command


class File:
    """A file on LiteRT's reference kernels, raw values in and out."""

    def __init__(self, content: bytes):
        self.interpreter = litert.Interpreter(
            model_content=content,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        )
        self.interpreter.allocate_tensors()
        keys = list(self.interpreter.get_signature_list())
        self.runner = self.interpreter.get_signature_runner(keys[0])
        self.inputs = self.runner.get_input_details()

    def stored(self, values: np.ndarray) -> np.ndarray:
        scale, zero_point = self.inputs["audio"]["quantization"]
        return np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(
            np.int8
        )

    def stream(self, values: np.ndarray) -> list[np.ndarray]:
        """The scores of every hop of what is stored already."""
        held = {
            name: np.full(details["shape"], details["quantization"][1], np.int8)
            for name, details in self.inputs.items()
            if name != "audio"
        }
        found = []
        for start in range(0, values.shape[1] - HOP + 1, HOP):
            made = self.runner(audio=values[:, start : start + HOP], **held)
            held = {name: made[f"{name}_next"] for name in held}
            found.append(made["scores"])
        return found


def signal(frames: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.normal(size=(1, frames, CHANNELS)).astype(np.float32)


@pytest.mark.parametrize("state", ["external", "internal"])
def test_command_writes_a_stream_that_equals_the_file_beside_it(
    stream, workplace, state
):
    outcome = stream(f"--stream_state={state}", "--also_whole=whole.tflite")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "out.tflite and whole.tflite are written" in outcome.stdout
    file = File((workplace / "out.tflite").read_bytes())
    whole = File((workplace / "whole.tflite").read_bytes())
    states = {name for name in file.inputs if name != "audio"}
    assert bool(states) == (state == "external")
    values = whole.stored(signal(2 * WINDOW))
    first = file.stream(values)
    if state == "internal":
        file.interpreter.get_signature_runner("reset")()
    again = file.stream(values)
    np.testing.assert_array_equal(first, again)
    for number, found in enumerate(first, 1):
        end = number * HOP
        if end >= WINDOW:
            expected = whole.runner(audio=values[:, end - WINDOW : end])
            np.testing.assert_array_equal(found, expected["scores"])
    assert len({found.tobytes() for found in first}) > len(first) / 2


def test_table_says_what_a_hop_costs(stream, workplace):
    outcome = stream()
    text = " ".join(outcome.stdout.split())
    size = (workplace / "out.tflite").stat().st_size
    assert f"file: {size:,} bytes" in text
    assert f"hop: {HOP} new frames, of windows of {WINDOW}" in text
    # Outputs a hop: 2 of the strided layer, 2 of the dilated one.
    macs = 2 * (5 * CHANNELS + CHANNELS * 8) + 2 * 3 * 8 + 8 * 3
    assert f"{macs:,} a hop" in text
    assert "state_0_next" in text
    assert "whole windows (not written)" in text
    assert "out.tflite is written" in text


def test_reports_are_on_both_files(stream, workplace):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    outcome = stream("--report=report.json", "--report_dir=report")
    assert outcome.status == 0
    report = json.loads((workplace / "report.json").read_text())
    assert report["passed"] is True
    assert report["stream"]["size"] == (
        (workplace / "out.tflite").stat().st_size
    )
    assert report["stream"]["output"].endswith("out.tflite")
    assert report["output"] == ""
    assert report["stream"]["plan"]["hop"] == HOP
    file = File((workplace / "out.tflite").read_bytes())
    told = {
        state["name"]: state["zero_point"]
        for state in report["stream"]["states"]
    }
    assert told == {
        name: details["quantization"][1]
        for name, details in file.inputs.items()
        if name != "audio"
    }
    assert report["arguments"]["stream_hop"] == HOP
    page = (workplace / "report" / "report.html").read_text()
    for check in report["checks"] + report["stream"]["checks"]:
        assert check["passed"] is True
        assert check["name"] in page
    assert "state_0_next" in page
    assert f"--stream_hop={HOP}" in page


def test_failed_check_writes_the_report_alone(stream, run, workplace):
    model = models.sequential(
        (WINDOW, CHANNELS),
        tfconv.DepthwiseConv1D(3, activation="sparsemax"),
    )
    model.save(workplace / "stream.keras")
    outcome = stream("--report=report.json")
    assert outcome.status == 1
    assert "FAIL" in outcome.stdout
    assert "nothing was written but the report" in outcome.stderr
    assert not (workplace / "out.tflite").exists()
    report = json.loads((workplace / "report.json").read_text())
    assert report["passed"] is False


def test_golden_vectors_are_hops_from_a_reset_on(stream, workplace):
    assert stream("--golden_dir=golden").status == 0
    given = np.load(workplace / "golden" / "input_audio.npy")
    expected = np.load(workplace / "golden" / "output_scores.npy")
    assert given.shape[1:] == (HOP, CHANNELS)
    assert len(given) == len(expected) > WINDOW // HOP
    file = File((workplace / "out.tflite").read_bytes())
    found = file.stream(given.reshape(1, -1, CHANNELS))
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_array_holds_the_streaming_file(stream, workplace):
    assert stream("--c_array=model.cc", "--also_whole=w.tflite").status == 0
    text = (workplace / "model.cc").read_text()
    array = text.partition("{")[2].partition("}")[0]
    content = bytes(
        int(number, 0) for number in array.split(",") if "x" in number
    )
    assert content == (workplace / "out.tflite").read_bytes()


@pytest.mark.parametrize("state", ["external", "internal"])
def test_file_says_of_itself_what_is_no_state(stream, workplace, state):
    (workplace / "words.txt").write_text("yes\nno\nother\n")
    outcome = stream(
        "--labels=words.txt",
        "--mean=0.5",
        "--stddev=2",
        f"--stream_state={state}",
    )
    assert outcome.status == 0
    described = metadata.read((workplace / "out.tflite").read_bytes())
    assert described.labels == ("yes", "no", "other")
    assert described.labelled == "scores"
    # Firmware knows inputs and outputs by their places: the states come last.
    states = ("state_0", "state_1", "state_2") * (state == "external")
    assert described.inputs == ("audio", *states)
    assert described.outputs == (
        "scores",
        *(f"{name}_next" for name in states),
    )
    assert (described.mean, described.stddev) == ((0.5,), (2.0,))


def test_open_window_is_taken_from_the_data(stream, workplace):
    network(None).save(workplace / "stream.keras")
    outcome = stream("--also_whole=whole.tflite")
    assert outcome.status == 0
    assert f"of windows of {WINDOW}" in outcome.stdout


def test_equalized_and_evaluated_stream(stream, workplace):
    model = network()
    labels = model.predict(models.DATA, verbose=0).argmax(axis=1)
    np.savez(workplace / "labelled.npz", x=models.DATA, y=labels)
    outcome = stream(
        "--equalize",
        "--evaluation_data=labelled.npz",
        "--report=report.json",
        "--also_whole=whole.tflite",
    )
    assert outcome.status == 0
    report = json.loads((workplace / "report.json").read_text())
    assert report["equalized"]
    assert report["accuracies"][0]["correct"] == len(labels)


def test_microcontroller_is_asked_about_the_stream(stream, workplace):
    pytest.importorskip("tflite_micro", reason="TFLite Micro is not installed")
    outcome = stream(
        "--target=micro", "--stream_state=internal", "--report=report.json"
    )
    assert outcome.status == 0
    report = json.loads((workplace / "report.json").read_text())
    assert report["target"]["target"] == "litert"
    found = report["stream"]["target"]
    assert found["arena_bytes"] > 0
    assert "AddCallOnce" in found["resolver"]
    assert "AddReadVariable" in outcome.stdout


@pytest.mark.parametrize("state", ["external", "internal"])
def test_npu_compiles_the_stream(stream, workplace, state):
    pytest.importorskip("ethosu", reason="Vela is not installed")
    outcome = stream(
        "--target=ethos-u55-128",
        f"--stream_state={state}",
        "--report=report.json",
    )
    assert outcome.status == 0, outcome.stderr
    assert (workplace / "out_vela.tflite").exists()
    report = json.loads((workplace / "report.json").read_text())
    left = {
        operator["name"]
        for operator in report["stream"]["target"]["cpu_operators"]
    }
    assert ("READ_VARIABLE" in left) == (state == "internal")
    assert "DEPTHWISE_CONV_2D" not in left


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--stream_hop=3",), "multiple of 2"),
        (("--stream_hop=0",), "hop"),
        (("--io_dtype=float32",), "--io_dtype is not possible"),
        (("--float_layers=scores",), "--float_layers is not possible"),
        (("--quantize=dynamic",), "--quantize=dynamic is not possible"),
        (("--also_whole=out.tflite",), "give another name"),
        (("--also_whole=existing.tflite",), "exists already"),
        (("--also_whole=data.npy",), "data.npy"),
        (("--model=model.keras",), "padding"),
        (("--model=saved_model",), "give a .keras file"),
    ],
)
def test_what_is_not_possible_is_one_sentence(
    refused, workplace, arguments, sentence
):
    network().save(workplace / "stream.keras")
    assert sentence in refused(
        "--model=stream.keras",
        "--output=out.tflite",
        "--representative_data=data.npy",
        "--quantize=int8",
        f"--stream_hop={HOP}",
        *arguments,
    )


@pytest.mark.parametrize(
    "flag",
    [
        "--stream_state=internal",
        "--stream_fallback=buffer",
        "--also_whole=whole.tflite",
    ],
)
def test_what_only_a_stream_has_needs_its_hop(refused, flag):
    sentence = refused("--model=model.keras", "--output=out.tflite", flag)
    assert "does nothing without --stream_hop" in sentence


def test_remedies_are_flags(refused, workplace):
    network().save(workplace / "stream.keras")
    common = ("--output=out.tflite", "--stream_hop=4")
    sentence = refused("--model=model.keras", *common)
    assert "--stream_fallback=buffer" in sentence
    assert "`" not in sentence.partition("--stream_fallback")[2]
    sentence = refused("--model=stream.keras", *common[:1], "--stream_hop=0")
    assert "value of --stream_hop must be an integer from 1" in sentence


def test_subclassed_model_is_one_sentence(refused, workplace):
    (workplace / "layers.py").write_text(_SUBCLASSED)
    made = runpy.run_path(str(workplace / "layers.py"))["Network"]()
    made(np.zeros((1, WINDOW, CHANNELS), np.float32))
    made.save(workplace / "subclassed.keras")
    sentence = refused(
        "--model=subclassed.keras",
        "--output=out.tflite",
        "--custom_module=layers.py",
        "--stream_hop=4",
    )
    assert "functional or Sequential" in sentence


def test_unknown_option_in_python_is_named(tmp_path):
    with pytest.raises(TypeError, match="'quantise'"):
        tfconv_export.export_streaming(
            network(), tmp_path / "out.tflite", HOP, quantise="int8"
        )
