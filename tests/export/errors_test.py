"""What the command refuses: one sentence, status 2, and nothing left behind."""

import shutil
import zipfile

import h5py
import numpy as np
import pytest

from tests.export import models
from tfconv_export import errors


@pytest.fixture(scope="module")
def bad_files(good_files, tmp_path_factory):
    """A directory with what is not, or not wholly, a model."""
    directory = tmp_path_factory.mktemp("bad")
    (directory / "no_saved_model").mkdir()
    models.network().save_weights(directory / "only.weights.h5")
    for name in ("foreign.keras", "foreign.h5", "model.onnx"):
        (directory / name).write_text("It is not what it says it is.\n")
    with zipfile.ZipFile(directory / "other_zip.keras", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with h5py.File(directory / "other.h5", "w") as file:
        file["numbers"] = np.arange(3)
    for suffix in ("keras", "h5"):
        content = (good_files / f"model.{suffix}").read_bytes()
        half = content[: len(content) // 2]
        (directory / f"half.{suffix}").write_bytes(half)
        (directory / f"empty.{suffix}").write_bytes(b"")
    return directory


@pytest.fixture
def workplace(workplace, bad_files):
    shutil.copytree(bad_files, workplace, dirs_exist_ok=True)
    return workplace


GOOD = ("--model=model.keras", "--output=out.tflite")
INT8 = (*GOOD, "--quantize=int8")


@pytest.mark.parametrize(
    "model",
    [
        "missing.keras",
        "missing.h5",
        "missing_directory",
        "missing_directory/model.keras",
        "model.keras/model.keras",
        "half.keras",
        "half.h5",
        "empty.keras",
        "empty.h5",
        "foreign.keras",
        "foreign.h5",
        "other_zip.keras",
        "other.h5",
        "only.weights.h5",
        "no_saved_model",
        "model.onnx",
        "data.npy",
        "",
    ],
)
def test_model_that_cannot_be_read(refused, model):
    sentence = refused(f"--model={model}", "--output=out.tflite")
    assert model in sentence
    assert "--model" in sentence


def test_weights_without_a_model_say_what_to_save(refused):
    sentence = refused("--model=only.weights.h5", "--output=out.tflite")
    assert "weights only" in sentence
    assert "model.save" in sentence


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_flipped_bits_in_a_model_file(refused, workplace, name):
    # In the JSON that says what the layers are, which both formats hold as
    # plain text.
    content = bytearray((workplace / name).read_bytes())
    where = content.index(b"class_name")
    content[where - 1] ^= 1
    (workplace / name).write_bytes(content)
    refused(f"--model={name}", "--output=out.tflite")


def test_flipped_bits_in_the_structure_of_an_h5_file(refused, workplace):
    # In the header of the root group, behind the superblock of 96 bytes.
    content = bytearray((workplace / "model.h5").read_bytes())
    content[112] ^= 16
    (workplace / "model.h5").write_bytes(content)
    refused("--model=model.h5", "--output=out.tflite")


def test_flipped_bits_in_the_weights_of_a_keras_file(refused, workplace):
    weights = models.network().get_weights()[0].tobytes()
    content = bytearray((workplace / "model.keras").read_bytes())
    assert content.count(weights) == 1
    content[content.index(weights) + 2] ^= 1
    (workplace / "model.keras").write_bytes(content)
    refused("--model=model.keras", "--output=out.tflite")


@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_damaged_saved_model(refused, workplace, name, damage):
    file = workplace / "saved_model" / name
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2 :] = bytes(
            byte ^ 1 for byte in content[len(content) // 2 :]
        )
        file.write_bytes(content)
    refused("--model=saved_model", "--output=out.tflite")


@pytest.mark.parametrize(
    ("quantize", "io_dtype"),
    [
        ("none", "int8"),
        ("float16", "int8"),
        ("dynamic", "uint8"),
        ("int8", "int16"),
        ("int16x8", "int8"),
        ("int16x8", "uint8"),
    ],
)
def test_io_dtype_that_the_mode_does_not_have(refused, quantize, io_dtype):
    sentence = refused(
        *GOOD,
        f"--quantize={quantize}",
        f"--io_dtype={io_dtype}",
        "--representative_data=data.npy",
    )
    assert f"--io_dtype={io_dtype}" in sentence
    assert "float32" in sentence


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--quantize=int2", "int16x8"),
        ("--io_dtype=float16", "uint8"),
        ("--quantise=int8", "quantise"),
        ("--overwrite=perhaps", "overwrite"),
        ("--input_shape=a,b", "98,40"),
        ("--input_shape=40,-4", "98,40"),
        ("--input_shape=40;4", "98,40"),
        ("--input_shape=", "98,40"),
        ("--input_shape=0,4", "0"),
        ("--input_shape=20,4", "(40,4)"),
        ("--input_shape=40", "(40,4)"),
        ("--flagfile=missing.cfg", "missing.cfg"),
        ("stray", "stray"),
    ],
)
def test_flag_that_makes_no_sense(refused, flag, told):
    sentence = refused(*GOOD, flag)
    assert told in sentence


@pytest.mark.parametrize("missing", ["--model", "--output"])
def test_flag_that_is_missing(refused, missing):
    given = [flag for flag in GOOD if not flag.startswith(missing)]
    assert missing in refused(*given)


def test_open_shape_that_nothing_fixes(refused):
    sentence = refused("--model=open.keras", "--output=out.tflite")
    assert "--input_shape=98,4" in sentence


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", "ValueError"),
        ("It is wrong.\nMore of it.", "It is wrong"),
        ("What went wrong:\n\nThe shape is.\nList:", "The shape is"),
        ("Exception encountered when calling x.\n\x1b[1mA\x1b[0m", "A"),
    ],
)
def test_reason_is_the_first_line_that_says_something(said, expected):
    assert errors.reason(ValueError(said)) == expected


def test_long_reason_keeps_its_end():
    said = errors.reason(ValueError(f"It takes {'no ' * 900}such layer."))
    assert said.startswith("It takes")
    assert said.endswith("such layer")
    assert len(said) < 300


@pytest.mark.parametrize("kind", [errors.UsageError, errors.CheckError])
def test_what_is_quoted_of_a_file_starts_no_line(kind):
    assert (
        str(kind("it holds: \nudio, \x1b[31m."))
        == "it holds:  udio, \ufffd[31m."
    )
