"""NumPy files of any size, damaged, or made to do harm."""

import collections
import io
import os
import pickle
import resource
import shutil
import struct
import tempfile
import tracemalloc
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.export.readers import AUDIO
from tests.export.readers import X
from tests.export.readers import Y
from tests.export.readers import choose
from tests.export.readers import stacked
from tfconv_export.errors import UsageError
from tfconv_export.source import Input

LARGE = (Input("x", (1000, 40), tf.float32),)
# Of 160,000 bytes each, which makes 2 GB.
LARGE_COUNT = 12500


def _header(shape, descr="<f4", version=1, fortran=False) -> bytes:
    """Of a .npy file, as NumPy's documentation of the format has it."""
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, "
    text += f"'shape': {shape!r}, }}\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode()


def _sparse(path, count: int) -> None:
    """A .npy file of zeros that takes no room, but its first example is 1."""
    header = _header((count, 1000, 40))
    with open(path, "wb") as file:
        file.write(header + np.ones(40000, "<f4").tobytes())
        file.truncate(len(header) + count * 160000)


@pytest.fixture
def memory():
    """What Python allocates at most, and by how much the process grows."""
    Found = collections.namedtuple("Found", ["python", "process"])

    def measure(function) -> Found:
        # In kilobytes, on Linux.
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tracemalloc.start()
        try:
            function()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Found(peak, 1024 * (after - before))

    return measure


@pytest.mark.parametrize("kind", ["file", "directory", "npz"])
def test_memory_does_not_grow_with_the_file(tmp_path, memory, kind):
    path = tmp_path / "0.npy"
    _sparse(path, LARGE_COUNT)
    assert os.path.getsize(path) > 2 * 10**9
    count = LARGE_COUNT
    if kind == "directory":
        for index in range(1, 20):
            os.link(path, tmp_path / f"{index}.npy")
        path, count = tmp_path, 20 * LARGE_COUNT
    elif kind == "npz":
        _sparse(path, LARGE_COUNT // 50)
        count = LARGE_COUNT // 50
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.write(path, "x.npy")
        path = tmp_path / "x.npz"
    found = []
    grown = memory(lambda: found.append(choose(path, LARGE, count=100, seed=1)))
    (examples,) = found
    assert len(list(examples)) == len(examples) == 100
    assert examples.summaries[0].available == count
    assert grown.python < 50e6
    assert grown.process < 200e6


def test_memory_does_not_grow_with_a_stream(memory):
    def function():
        for index in range(2000):
            yield np.full((1000, 40), index, np.float32)

    grown = memory(lambda: list(choose(function, LARGE, count=10).labelled()))
    assert grown.python < 10e6
    assert grown.process < 100e6


def test_memory_does_not_grow_with_all_of_a_compressed_file(tmp_path, memory):
    path = tmp_path / "x.npy"
    _sparse(path, 1500)
    with zipfile.ZipFile(
        tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED
    ) as archive:
        archive.write(path, "x.npy")
    os.unlink(path)
    found = []
    grown = memory(
        lambda: found.append(choose(tmp_path / "x.npz", LARGE, count=None))
    )
    assert found[0].summaries[0].used == 1500
    assert found[0].summaries[0].mean == pytest.approx(1 / 1500)
    assert grown.python < 50e6


@pytest.mark.parametrize("compression", ["STORED", "DEFLATED", "LZMA"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
def test_npz_of_every_form_is_read(
    tmp_path, monkeypatch, compression, order, dtype
):
    array = np.array(np.rint(10 * X), dtype, order=order)
    content = io.BytesIO()
    np.save(content, array)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(
        path, "w", getattr(zipfile, f"ZIP_{compression}")
    ) as archive:
        archive.writestr("before.txt", "Not an array.\n")
        archive.writestr("x.npy", content.getvalue())
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    np.testing.assert_array_equal(stacked(choose(path)), np.rint(10 * X))
    assert not os.listdir(scratch)


def test_version_2_of_the_format_is_read(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(_header(X.shape, version=2) + X.tobytes())
    np.testing.assert_array_equal(np.load(path), X)
    np.testing.assert_array_equal(stacked(choose(path)), X)


def _bomb(path, member: bytes, size: int | None = None) -> None:
    """A zip that says that it unpacks to `size` bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", member)
    if size is not None:
        content = bytearray(path.read_bytes())
        for signature, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
            start = content.index(signature) + place
            content[start : start + 4] = struct.pack("<I", size)
        path.write_bytes(content)


def test_file_that_unpacks_to_more_than_the_disk_holds(
    tmp_path, monkeypatch, memory
):
    header = _header((26000, 1000, 40))
    path = tmp_path / "bomb.npz"
    size = len(header) + 26000 * 160000
    _bomb(path, header + bytes(10**6), size)
    usage = collections.namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage(10**10, 0, 8 * 10**9)
    )
    monkeypatch.setattr(
        shutil, "copyfileobj", lambda *_: pytest.fail("It was unpacked.")
    )

    def refuse():
        with pytest.raises(UsageError, match=r"4.2 GB .* 8.0 GB free"):
            choose(path, LARGE)

    assert memory(refuse).python < 10e6


@pytest.mark.parametrize(
    "member",
    [
        _header((10**12, 6, 3)),
        _header((10**12, 6, 3)) + bytes(72),
        _header((10**30, 6, 3)),
        _header((-1, 6, 3)),
        _header((2, 6, 3), descr="|O") + pickle.dumps([1]),
        _header((1, 6, 3)) + bytes(73),
        b"\x93NUMPY\2\0\xff\xff\xff\xff" + b" " * 100,
        b"\x93NUMPY\1\0\xff\xff" + b"[" * 65535,
        b"\x93NUMPY\1\0",
        b"",
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_header_that_lies(tmp_path, member, kind, memory):
    path = tmp_path / f"x.{kind}"
    if kind == "npy":
        path.write_bytes(member)
    else:
        _bomb(path, member)

    def refuse():
        with pytest.raises(UsageError, match="cannot be read as a NumPy file"):
            choose(path)

    assert memory(refuse).python < 10e6


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_nothing_is_unpickled(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    array = np.array([Evil()])
    (np.save if kind == "npy" else np.savez)(tmp_path / f"x.{kind}", array)
    with pytest.raises(UsageError, match="Python objects"):
        choose(f"x.{kind}")
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UsageError):
        choose("raw.npy")
    assert not os.path.exists("unpickled")


def test_members_with_paths_write_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "inside"
    folder.mkdir()
    monkeypatch.chdir(folder)
    content = io.BytesIO()
    np.save(content, X)
    with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../outside.npy", content.getvalue())
    np.testing.assert_array_equal(stacked(choose("x.npz")), X)
    assert os.listdir(tmp_path) == ["inside"]
    assert os.listdir(folder) == ["x.npz"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "npy.npy", X)
    np.savez(folder / "npz.npz", x=X, y=Y)
    np.savez_compressed(folder / "small.npz", x=X, y=Y)
    return {path.stem: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["npy", "npz", "small"])
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_file_is_refused_or_holds_the_same_numbers(
    whole, tmp_path_factory, kind, data
):
    content = bytearray(whole[kind])
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("damaged") / "x.npz"
    path.write_bytes(content)
    try:
        found = stacked(choose(path, labelled=kind != "npy"))
    except UsageError as error:
        assert "\n" not in str(error)
        return
    # A .npy file has no checksum.
    assert kind == "npy" or found.tobytes() == X.tobytes()
    assert found.shape[1:] == AUDIO[0].shape
