"""The command as its user meets it: flags in, table and status out."""

import json
import math
import re

import keras
import numpy as np
import pytest

import tfconv
import tfconv_export
from tests.export import command
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile

GOOD = (
    "--model=model.keras",
    "--output=out.tflite",
    "--representative_data=data.npy",
)


def test_table_holds_every_check_and_what_was_made(run, workplace):
    outcome = run(*GOOD, "--quantize=int8", "--report=report.json")
    assert outcome.status == 0
    assert outcome.stderr == ""
    text = " ".join(outcome.stdout.split())
    report = json.loads((workplace / "report.json").read_text())
    assert len(report["checks"]) >= 6
    for check in report["checks"]:
        assert check["passed"] is True
        # In a narrow table, the cells are broken into lines.
        for word in f"{check['name']} {check['detail']}".split():
            assert word in text
    assert outcome.stdout.count("  pass  ") == len(report["checks"])
    assert f"all {len(report['checks'])} checks passed" in outcome.stdout
    assert "FAIL" not in text
    size = (workplace / "out.tflite").stat().st_size
    before = (workplace / "model.keras").stat().st_size
    assert f"{before:,} bytes -> {size:,} bytes" in text
    assert "model.keras -> out.tflite" in text
    assert "32 examples" in text


def test_report_agrees_with_the_file(run, workplace):
    run(*GOOD, "--quantize=int8", "--report=report.json")
    report = json.loads((workplace / "report.json").read_text())
    file = TFLiteFile(workplace / "out.tflite")
    assert report["size"] == (workplace / "out.tflite").stat().st_size
    assert report["model_size"] == (workplace / "model.keras").stat().st_size
    assert report["operators"] == file.operators
    assert report["quantize"] == "int8"
    assert report["io_dtype"] == "int8"
    assert report["inputs"][0]["name"] in file.inputs
    assert report["inputs"][0]["shape"] == [1, 40, 4]
    assert report["examples"] == len(models.DATA)
    assert "data.npy" in report["examples_origin"]
    runtimes = {agreement["runtime"] for agreement in report["agreements"]}
    assert len(runtimes) >= 2
    for agreement in report["agreements"]:
        assert agreement["output"] in file.outputs
        assert agreement["finite"] is True
        assert 25 < agreement["sqnr_db"] < 60


def test_report_is_json_even_if_nothing_was_lost(run, workplace):
    # An identity has no error: its SQNR is infinite, which JSON is not.
    inputs = keras.Input((40, 4), name="audio")
    model = keras.Model(inputs, keras.layers.ReLU()(inputs))
    model.save(workplace / "model.keras")
    run(*GOOD, "--report=report.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads(
        (workplace / "report.json").read_text(), parse_constant=refuse
    )
    assert report["agreements"][0]["sqnr_db"] is None
    assert report["agreements"][0]["max_error"] == 0


def test_report_is_what_the_python_call_returns(run, workplace):
    run(*GOOD, "--report=report.json")
    report = json.loads((workplace / "report.json").read_text())
    result = tfconv_export.export(
        "model.keras",
        "out.tflite",
        representative_data="data.npy",
        overwrite=True,
    )
    for name in (
        "model",
        "output",
        "quantize",
        "io_dtype",
        "model_size",
        "operators",
        "examples",
        "examples_origin",
    ):
        assert report[name] == getattr(result, name)
    for told, check in zip(report["checks"], result.checks, strict=True):
        assert told["name"] == check.name
        assert told["passed"] == check.passed


@pytest.mark.parametrize("name", ["model[train].keras", "model[/b].keras"])
def test_brackets_in_a_path_are_shown_as_they_are(run, workplace, name):
    # rich takes them for markup.
    (workplace / "model[").mkdir()
    path = workplace / name
    (workplace / "model.keras").rename(path)
    outcome = run(f"--model={name}", "--output=out[1].tflite")
    assert outcome.status == 0
    assert f"{name} -> out[1].tflite" in " ".join(outcome.stdout.split())


@pytest.fixture
def not_integer(workplace):
    """A model with an operator that TFLite has in float only."""
    model = models.sequential(
        (40, 4),
        tfconv.SeparableConv1D(8, 3, activation="sparsemax"),
        tfconv.DepthwiseConv1D(3),
    )
    model.save(workplace / "model.keras")


def test_failed_check_prints_the_table_and_writes_the_report_alone(
    run, workplace, not_integer
):
    before = command.snapshot(workplace)
    outcome = run(
        "--model=model.keras",
        "--representative_data=data.npy",
        "--quantize=int8",
        "--output=existing.tflite",
        "--report=report.json",
        "--overwrite",
    )
    assert outcome.status == 1
    after = command.snapshot(workplace)
    report = json.loads((workplace / "report.json").read_text())
    del after["report.json"]
    assert after == before
    assert not report["passed"]
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert "nothing was written but the report" in outcome.stderr
    failed = [line for line in outcome.stdout.splitlines() if "FAIL" in line]
    assert any("integers only" in line for line in failed)
    assert "CUMSUM" in outcome.stdout
    passed = [
        line for line in outcome.stdout.splitlines() if "  pass  " in line
    ]
    assert passed


def test_operator_that_tflite_lacks_is_named_in_one_line(run, workplace):
    inputs = keras.Input((40, 4), name="audio")
    outputs = keras.ops.fft((inputs, inputs))[0]
    keras.Model(inputs, outputs).save(workplace / "model.keras")
    before = command.snapshot(workplace)
    outcome = run(*GOOD)
    assert outcome.status == 1
    assert command.snapshot(workplace) == before
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert "FFT" in outcome.stderr
    assert "loc(" not in outcome.stderr
    assert len(outcome.stderr) < 400


def test_flags_from_a_file_count(run, workplace):
    (workplace / "export.cfg").write_text(
        "--model=model.keras\n--quantize=int8\n"
        "# What the quickstart made.\n--representative_data=data.npy\n"
    )
    outcome = run("--flagfile=export.cfg", "--output=out.tflite")
    assert outcome.status == 0
    file = TFLiteFile(workplace / "out.tflite")
    assert file.inputs["audio"]["dtype"] is np.int8


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpshort"])
def test_help_lists_every_flag(run, workplace, flag):
    outcome = run(flag)
    assert outcome.status == 0
    assert outcome.stderr == ""
    for name in (
        "model",
        "output",
        "quantize",
        "representative_data",
        "representative_key",
        "io_dtype",
        "input_shape",
        "[no]overwrite",
        "report",
        "[no]unsafe_deserialization",
    ):
        assert f"--{name}:" in outcome.stdout
    for status in ("0 written", "1 a check failed", "2 wrong usage"):
        assert status in outcome.stdout


def test_relative_paths_are_those_of_the_caller_of_bazel(
    run, workplace, monkeypatch, tmp_path
):
    elsewhere = tmp_path / "runfiles"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(workplace))
    outcome = run(*GOOD, "--report=report.json")
    assert outcome.status == 0
    assert (workplace / "out.tflite").is_file()
    assert (workplace / "report.json").is_file()
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("shape", ["33,4", " 33 , 4"])
def test_input_shape_fixes_what_is_open(run, workplace, shape):
    outcome = run(
        "--model=open.keras", "--output=out.tflite", f"--input_shape={shape}"
    )
    assert outcome.status == 0
    file = TFLiteFile(workplace / "out.tflite")
    assert list(file.inputs["audio"]["shape"]) == [1, 33, 4]


def test_process_of_its_own_writes_the_file_and_only_the_table(workplace):
    outcome = command.run_process(
        *GOOD,
        "--quantize=int8",
        cwd=workplace,
        TMPDIR=str(workplace / "tmp"),
        # A terminal that has no lines to draw tables with.
        PYTHONIOENCODING="ascii",
    )
    assert outcome.status == 0
    assert outcome.stderr == ""
    assert outcome.stdout.startswith("model.keras -> out.tflite")
    assert not list((workplace / "tmp").iterdir())
    file = TFLiteFile(workplace / "out.tflite")
    expected = models.outputs_of(models.network(), models.DATA)
    assert_close(expected, file.run_one_output(models.DATA), "int8")


def test_process_of_its_own_refuses_in_one_line(workplace):
    before = command.snapshot(workplace)
    outcome = command.run_process(
        "--model=missing.keras", "--output=out.tflite", cwd=workplace
    )
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert command.snapshot(workplace) == before


def with_an_infinite_weight() -> keras.Model:
    model = models.network()
    weights = model.get_weights()
    weights[0][0, 0, 0] = math.inf
    model.set_weights(weights)
    return model


def with_a_recurrent_layer() -> keras.Model:
    return models.sequential(
        (40, 4), tfconv.SeparableConv1D(6, 3), keras.layers.GRU(4)
    )


@pytest.mark.parametrize(
    "model", [with_an_infinite_weight, with_a_recurrent_layer]
)
def test_model_that_ends_the_converter_does_not_end_the_command(
    workplace, model
):
    # With a segmentation fault, when it is to quantize.
    model().save(workplace / "model.keras")
    before = command.snapshot(workplace)
    outcome = command.run_process(
        *GOOD,
        "--quantize=int8",
        cwd=workplace,
        TMPDIR=str(workplace / "tmp"),
    )
    assert outcome.status in (1, 2)
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert command.snapshot(workplace) == before
