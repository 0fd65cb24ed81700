"""Whatever goes wrong in the command is one clean line and a status."""

import io
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from tests.export import command
from tests.export import models
from tfconv_export import conversion
from tfconv_export import exporting

GOOD = ("--model=model.keras", "--output=out.tflite")
RECORDS = (*GOOD, "--representative_data=data.tfrecord")
LONG = "a" * 300
MANY_DIGITS = "9" * 5000


@pytest.fixture
def workplace(workplace):
    """With links that lead to themselves, and JSON without an end."""
    for name in ("loop.keras", "loop.tflite"):
        (workplace / name).symlink_to(name)
    (workplace / "deep.json").write_text("[" * 100_000)
    (workplace / "data.tfrecord").write_bytes(b"")
    (workplace / "null.cfg").write_text("--model=mo\0del.keras\n")
    (workplace / "binary.cfg").write_bytes(b"--model=\xff\xfe\n")
    return workplace


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ([f"--model={LONG}.keras"], "--model"),
        (["--model=loop.keras"], "--model"),
        (["--flagfile=null.cfg"], "--model"),
        (["--flagfile=binary.cfg"], "--flagfile"),
        (["--output=loop.tflite"], "--output"),
        (["--output=o\0.tflite"], "--output"),
        (["--report=loop.tflite"], "--report"),
        (["--report_dir=loop.tflite"], "--report_dir"),
        ([f"--report_dir={LONG}"], "--report_dir"),
        ([f"--golden_dir={LONG}", "--report_dir=o\0"], "_dir"),
        ([f"--representative_data={LONG}"], "--representative_data"),
        (["--representative_data=*\0*"], "--representative_data"),
        ([f"--custom_module={LONG}.py"], "--custom_module"),
        ([f"--labels={LONG}"], "--labels"),
        (["--labels=loop.tflite"], "--labels"),
        (["--model_version=\udcff"], "--model_version"),
        ([f"--input_shape={MANY_DIGITS}"], "--input_shape"),
        (["--stddev=0"], "--stddev"),
        (["--mean=nan"], "--mean"),
        (["--timeout_s=-1"], "timeout_s"),
        (["--timeout_s=9999999999"], "timeout_s"),
        (["\x1b[2J"], "Unexpected argument"),
    ],
)
def test_argument_that_makes_no_sense_is_a_sentence(refused, arguments, flag):
    assert flag in refused(*GOOD, *arguments)


@pytest.mark.parametrize(
    "spec",
    [
        "audio:raw_,:1",
        "audio:raw_i4,i4:1",
        '{"audio":1}',
        "audio:float32:9999999999999999999999",
        "audio:float32:4294967296,4294967296",
        "audio:float32:65536,65536",
        f"audio:float32:{MANY_DIGITS}",
        "\udcff:float32:1",
        "deep.json",
        "label:int64:",
    ],
)
def test_feature_specification_that_is_none_is_a_sentence(refused, spec):
    assert "--feature_spec" in refused(*RECORDS, f"--feature_spec={spec}")


@pytest.mark.parametrize("shape", ["99999999999", "2147483648,4"])
def test_size_of_more_than_32_bits_is_refused(refused, shape):
    sentence = refused(
        "--model=open.keras", "--output=out.tflite", f"--input_shape={shape}"
    )
    assert "--input_shape" in sentence


@pytest.mark.parametrize("shape", ["1999999999,4", "2147483647,4"])
def test_size_that_no_machine_holds_is_refused_before_it_is_tried(
    refused, monkeypatch, shape
):
    monkeypatch.setattr("tfconv_export.memory.available", lambda: 8 << 30)
    sentence = refused(
        "--model=open.keras", "--output=out.tflite", f"--input_shape={shape}"
    )
    assert "give a smaller --input_shape" in sentence


def test_generated_data_that_no_machine_holds_is_refused(refused, monkeypatch):
    monkeypatch.setattr("tfconv_export.memory.available", lambda: 10_000)
    sentence = refused(
        "--model=open.keras", "--output=out.tflite", "--input_shape=50,4"
    )
    assert "16" not in sentence.partition("takes")[0]
    assert "bytes of memory" in sentence


def test_names_in_files_reach_the_terminal_without_what_controls_it(
    refused, workplace
):
    buffer = io.BytesIO()
    np.save(buffer, models.DATA)
    with zipfile.ZipFile(workplace / "x.npz", "w") as archive:
        for name in ("\x1b]0;PWNED\x07\x1b[2J", "b\nall checks passed"):
            archive.writestr(f"{name}.npy", buffer.getvalue())
    sentence = refused(*GOOD, "--representative_data=x.npz")
    assert sentence.isprintable()
    assert "]0;PWNED" in sentence


def raising(error):
    def raise_it(*_, **__):
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyError("x"), 70, "internal error: KeyError: 'x'; please report"),
        (AssertionError(), 70, "please report"),
        (ValueError("a\n\x1b[2Jb" + 9000 * "c"), 70, "please report"),
        (ImportError("of ours", name="tfconv_export.x"), 70, "please report"),
        (ImportError("libx.so: no memory"), 2, "libx.so: no memory"),
        (MemoryError("Unable to allocate 47.7 GiB"), 2, "47.7 GiB"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), 2, "OOM"),
        (OSError(28, "No space left on device"), 2, "No space left"),
        (SystemExit(0), 2, "ended the program"),
        (KeyboardInterrupt(), 130, "interrupted; nothing was written"),
    ],
)
def test_exception_is_one_line_and_its_status(
    run, workplace, monkeypatch, error, status, told
):
    monkeypatch.setattr(exporting, "convert_and_prove", raising(error))
    before = command.snapshot(workplace)
    outcome = run(*GOOD)
    assert outcome.status == status
    assert outcome.stdout == ""
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert outcome.stderr[:-1].isprintable()
    assert len(outcome.stderr) <= 601
    assert told in outcome.stderr
    assert command.snapshot(workplace) == before


def test_traceback_is_printed_if_it_is_asked_for(run, monkeypatch):
    monkeypatch.setattr(conversion, "convert", raising(KeyError("x")))
    outcome = run(*GOOD, "--verbosity=1")
    assert outcome.status == 70
    assert "Traceback" in outcome.stderr
    assert "please report" in outcome.stderr.splitlines()[-1]


def start(arguments, folder, closed=(), **environment) -> command.Outcome:
    """Runs the command in a process of its own with some streams closed."""

    def close():
        for descriptor in closed:
            os.close(descriptor)

    done = subprocess.run(
        [sys.executable, "-m", "tfconv_export.cli", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        },
        capture_output=True,
        text=True,
        preexec_fn=close,
        check=False,
    )
    return command.Outcome(done.returncode, done.stdout, done.stderr)


def test_help_that_cannot_be_printed_is_a_sentence(tmp_path):
    outcome = start(["--help"], tmp_path, closed=[1])
    assert outcome.status == 2
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)


def test_export_without_standard_streams_writes_the_file(workplace):
    # What is opened next must not take their place, and get what is printed.
    outcome = start(GOOD, workplace, closed=[0, 1, 2])
    assert outcome.status == 0
    assert (workplace / "out.tflite").read_bytes()[4:8] == b"TFL3"


def test_another_backend_of_keras_is_a_sentence(workplace):
    outcome = start(GOOD, workplace, KERAS_BACKEND="torch")
    assert outcome.status == 2
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert "KERAS_BACKEND=tensorflow" in outcome.stderr


def test_directory_that_is_not_there_any_more_is_a_sentence(
    tmp_path, monkeypatch, capfd
):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.delenv("BUILD_WORKING_DIRECTORY", raising=False)
    monkeypatch.chdir(gone)
    gone.rmdir()
    outcome = command.run(monkeypatch, capfd, *GOOD)
    assert outcome.status == 2
    assert "the current directory" in outcome.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(gone))
    outcome = command.run(monkeypatch, capfd, *GOOD)
    assert outcome.status == 2
    assert "BUILD_WORKING_DIRECTORY" in outcome.stderr
