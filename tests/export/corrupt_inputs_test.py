"""Damaged and hostile input files: a sentence, and nothing is run or left.

The NumPy and TFRecord files have tests of their own. Here, too, a damage that
changes nothing that counts (a checksum of a file's own, an unused byte) may
pass: then the file that is written computes what the whole model does.
"""

import json
import pathlib
import re
import shutil
import tracemalloc
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.export import command
from tests.export.tflite import TFLiteFile

GOOD = ("--model=model.keras", "--output=out.tflite")


@st.composite
def damages(draw):
    """From the bytes of a file to those of a damaged one."""
    place = draw(st.floats(0, 1, exclude_max=True))
    if draw(st.booleans()):
        return lambda content: content[: int(place * len(content))]
    bit = draw(st.integers(0, 7))

    def flip(content: bytes) -> bytes:
        damaged = bytearray(content)
        damaged[int(place * len(content))] ^= 1 << bit
        return bytes(damaged)

    return flip


bounded = settings(
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def survives(run, workplace):
    """Exports a model whose file is damaged; puts it right again."""

    def export(model: str, file: str, damage) -> None:
        path = workplace / file
        whole = path.read_bytes()
        path.write_bytes(damage(whole))
        before = command.snapshot(workplace)
        try:
            outcome = run(
                f"--model={model}", "--output=existing.tflite", "--overwrite"
            )
            after = command.snapshot(workplace)
        finally:
            path.write_bytes(whole)
        if outcome.status == 0:
            assert outcome.stderr == ""
            before.pop("existing.tflite")
            after.pop("existing.tflite")
            TFLiteFile(workplace / "existing.tflite")
        else:
            assert outcome.status in (1, 2)
            assert_one_sentence(outcome)
        assert after == before

    return export


def assert_one_sentence(outcome: command.Outcome) -> None:
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr), (
        outcome.stderr
    )
    assert len(outcome.stderr) < 600


@bounded
@given(damage=damages())
def test_damaged_keras_file(survives, damage):
    survives("model.keras", "model.keras", damage)


@bounded
@given(damage=damages())
def test_damaged_h5_file(survives, damage):
    survives("model.h5", "model.h5", damage)


@pytest.mark.parametrize(
    "name",
    [
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ],
)
@bounded
@given(damage=damages())
def test_damaged_saved_model(survives, name, damage):
    survives("saved_model", f"saved_model/{name}", damage)


def rewrite(path: pathlib.Path, change) -> None:
    """Changes the config in a `.keras` or an `.h5` file."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


# What would leave a file "marker" where the command runs, had it been called.
CALLS = {
    "os.system": ("os", "system", "touch marker"),
    "posix.system": ("posix", "system", "touch marker"),
    "subprocess.getoutput": ("subprocess", "getoutput", "touch marker"),
    "builtins.exec": ("builtins", "exec", "open('marker', 'w')"),
    "builtins.eval": ("builtins", "eval", "open('marker', 'w')"),
    "pathlib.Path": ("pathlib", "Path", {"name": "marker"}),
    "shutil.copyfile": (
        "shutil",
        "copyfile",
        {"src": "data.npy", "dst": "marker"},
    ),
    "keras.utils.get_file": (
        "keras.utils",
        "get_file",
        {"fname": "marker", "origin": "file:data.npy", "cache_dir": "."},
    ),
    "keras.models.load_model": (
        "keras.models",
        "load_model",
        {"filepath": "other.keras", "safe_mode": False},
    ),
    "keras.config.enable_unsafe_deserialization": (
        "keras.config",
        "enable_unsafe_deserialization",
        {},
    ),
}


@pytest.mark.parametrize("place", ["model", "layer", "activation"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_config_that_names_a_function_calls_none(
    refused, workplace, suffix, call, place
):
    module, name, argument = CALLS[call]
    hostile = {
        "module": module,
        "class_name": name,
        "config": argument,
        "registered_name": None,
        "build_config": None,
    }

    def change(config):
        layers = config["config"]["layers"]
        if place == "model":
            config.clear()
            config.update(hostile)
        elif place == "layer":
            layers[1] = hostile
        else:
            layers[-1]["config"]["activation"] = hostile

    rewrite(workplace / f"model.{suffix}", change)
    refused(f"--model=model.{suffix}", "--output=out.tflite")
    assert not (workplace / "marker").exists()


@pytest.fixture
def with_code(workplace):
    """Puts Python code into a model's file, as a layer or an activation."""
    layer = keras.saving.serialize_keras_object(
        keras.layers.Lambda(
            lambda x: [open("marker", "w").close(), x][1],
            output_shape=(40, 4),
        )
    )

    def change(config):
        layers = config["config"]["layers"]
        layers[-1]["config"]["activation"] = layer["config"]["function"]

    def write(place: str, suffix: str) -> None:
        if place == "activation":
            rewrite(workplace / f"model.{suffix}", change)
        else:
            rewrite(
                workplace / f"model.{suffix}",
                lambda config: config["config"]["layers"].insert(1, layer),
            )

    return write


@pytest.mark.parametrize("place", ["layer", "activation"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_python_code_in_a_config_is_not_run(
    refused, workplace, with_code, suffix, place
):
    with_code(place, suffix)
    sentence = refused(f"--model=model.{suffix}", "--output=out.tflite")
    assert "--unsafe_deserialization" in sentence
    assert not (workplace / "marker").exists()


def test_python_code_in_a_config_is_run_once_it_is_allowed(
    run, workplace, with_code
):
    # So the test before would see it.
    with_code("layer", "keras")
    run(*GOOD, "--unsafe_deserialization")
    assert (workplace / "marker").exists()


@pytest.mark.parametrize(
    "config",
    [
        b"5",
        b"null",
        b"[]",
        b"{}",
        b'"Sequential"',
        b'{"class_name": 3, "config": []}',
        b"[" * 100_000,
        b"[" * 900 + b"]" * 900,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b"\xff\xfe",
    ],
    ids=lambda config: config[:12].decode("latin-1"),
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_config_that_is_none(refused, workplace, suffix, config):
    path = workplace / f"model.{suffix}"
    if suffix == "h5":
        with h5py.File(path, "r+") as file:
            del file.attrs["model_config"]
            file.attrs["model_config"] = np.void(config[:60_000])
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
    assert path.name in refused(f"--model={path.name}", "--output=out.tflite")


GIGABYTE = 1 << 30


def add_bomb(path: pathlib.Path, name: str, declared: int) -> None:
    """Adds 10 GB of zeros to a zip file, in 10 MB, with a declared size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    content = megabyte * (10 << 10) + packer.flush()
    with zipfile.ZipFile(path) as archive:
        members = {
            other: archive.read(other)
            for other in archive.namelist()
            if other != name
        }
    with zipfile.ZipFile(path, "w") as archive:
        for other, whole in members.items():
            archive.writestr(other, whole)
        # zipfile would pack it itself, and note its true size.
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.file_size, info.compress_size = declared, len(content)
        info.CRC = 0
        info.header_offset = archive.fp.tell()
        archive.fp.write(info.FileHeader() + content)
        archive.start_dir = archive.fp.tell()
        archive.filelist.append(info)
        archive.NameToInfo[name] = info


@pytest.mark.parametrize("declared", [100, 10 * GIGABYTE])
@pytest.mark.parametrize(
    "name", ["config.json", "model.weights.h5", "assets/vocabulary.txt"]
)
def test_file_that_unpacks_to_ten_gigabytes(
    refused, workplace, name, declared, memory
):
    add_bomb(workplace / "model.keras", name, declared)
    refused(*GOOD)
    assert memory() < 100e6


def test_h5_file_whose_weights_unpack_to_ten_gigabytes(
    refused, workplace, memory
):
    with h5py.File(workplace / "model.h5", "r+") as file:
        datasets = []
        file["model_weights"].visititems(
            lambda name, item: (
                datasets.append(item)
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
        name = datasets[0].name
        del file[name]
        file.create_dataset(
            name, (10 * GIGABYTE // 4,), "f4", compression="gzip"
        )
    refused("--model=model.h5", "--output=out.tflite")
    assert memory() < 100e6


def as_link(group, name: str) -> None:
    group[name] = h5py.ExternalLink("other.h5", "/kernel")


def as_raw_storage(group, name: str) -> None:
    group.create_dataset(name, (4,), "f4", external="other.h5")


def as_view(group, name: str) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "kernel", (4,))
    group.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("put", [as_link, as_raw_storage, as_view])
def test_h5_file_does_not_read_another(refused, workplace, put):
    with h5py.File(workplace / "other.h5", "w") as file:
        file["kernel"] = np.zeros(4, np.float32)
    with h5py.File(workplace / "model.h5", "r+") as file:
        put(file["model_weights"], "other")
    sentence = refused("--model=model.h5", "--output=out.tflite")
    assert "is in another file" in sentence


@pytest.fixture
def memory():
    """How many bytes there were at most since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["../evil", "assets/../../evil", "/{}/evil"])
def test_members_with_paths_write_nothing_elsewhere(workplace, name):
    with zipfile.ZipFile(workplace / "model.keras", "a") as archive:
        archive.writestr(name.format(workplace), "evil")
        archive.writestr("assets/harmless", "harmless")
    before = command.snapshot(workplace.parent)
    # In a process of its own, as Keras leaves what it unpacks.
    outcome = command.run_process(
        *GOOD, cwd=workplace, TMPDIR=str(workplace / "tmp")
    )
    assert outcome.status in (0, 2)
    after = command.snapshot(workplace.parent)
    after.pop("work/out.tflite", None)
    assert after == before


def python_function(x):
    def leave_marker(x):
        pathlib.Path("marker").touch()
        return x

    return tf.ensure_shape(
        tf.py_function(leave_marker, [x], tf.float32), x.shape
    )


def written_file(x):
    with tf.control_dependencies([tf.io.write_file("marker", "marker")]):
        return tf.identity(x)


@pytest.mark.parametrize(
    ("function", "operation"),
    [(python_function, "EagerPyFunc"), (written_file, "WriteFile")],
)
def test_saved_model_runs_no_python_and_writes_no_file(
    refused, workplace, function, operation
):
    module = tf.Module()
    module.serve = tf.function(
        function, input_signature=[tf.TensorSpec((None, 40, 4), name="audio")]
    )
    shutil.rmtree(workplace / "saved_model")
    tf.saved_model.save(module, workplace / "saved_model", module.serve)
    sentence = refused("--model=saved_model", "--output=out.tflite")
    assert operation in sentence
    assert not (workplace / "marker").exists()
    module.serve(tf.zeros((1, 40, 4)))
    assert (workplace / "marker").exists()
