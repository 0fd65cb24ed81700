"""TFLite metadata, read as the format's description says, byte by byte."""

import struct
import zipfile

import keras
import numpy as np
import pytest

import tfconv_export
from tests.export import models
from tests.export.tflite import TFLiteFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keyword.tflite"


class Table:
    """A table of a flatbuffer: https://flatbuffers.dev/internals."""

    def __init__(self, content: bytes, at: int):
        self.content, self.at = content, at

    def _unsigned(self, at: int) -> int:
        return struct.unpack_from("<I", self.content, at)[0]

    def field(self, slot: int) -> int | None:
        vtable = self.at - struct.unpack_from("<i", self.content, self.at)[0]
        size = struct.unpack_from("<H", self.content, vtable)[0]
        entry = 4 + 2 * slot
        if entry >= size:
            return None
        offset = struct.unpack_from("<H", self.content, vtable + entry)[0]
        return self.at + offset if offset else None

    def follow(self, slot: int) -> int:
        at = self.field(slot)
        return at + self._unsigned(at)

    def table(self, slot: int) -> "Table":
        return Table(self.content, self.follow(slot))

    def string(self, slot: int) -> str:
        at = self.follow(slot)
        length = self._unsigned(at)
        return self.content[at + 4 : at + 4 + length].decode()

    def tables(self, slot: int) -> list["Table"]:
        start = self.follow(slot)
        ats = [start + 4 + 4 * i for i in range(self._unsigned(start))]
        return [Table(self.content, at + self._unsigned(at)) for at in ats]

    def floats(self, slot: int) -> tuple[float, ...]:
        at = self.follow(slot)
        count = self._unsigned(at)
        return struct.unpack_from(f"<{count}f", self.content, at + 4)

    def byte(self, slot: int) -> int:
        return self.content[self.field(slot)]


def metadata_of(path) -> Table:
    model = TFLiteFile(path).model
    (entry,) = [m for m in model.metadata if m.name == b"TFLITE_METADATA"]
    content = bytes(model.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    return Table(content, struct.unpack_from("<I", content)[0])


def classifier() -> keras.Model:
    return models.sequential(
        (40, 4),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(3, name="scores"),
        name="keyword",
    )


def test_metadata_says_names_and_version(path):
    tfconv_export.export(classifier(), path, model_version="1.4.2")
    root = metadata_of(path)
    assert root.string(0) == "keyword"
    assert root.string(2) == "1.4.2"
    (graph,) = root.tables(3)
    assert [tensor.string(0) for tensor in graph.tables(2)] == ["audio"]
    assert [tensor.string(0) for tensor in graph.tables(3)] == ["scores"]


def test_metadata_says_how_the_data_was_normalised(path):
    data = 3 * models.DATA + 5
    mean, stddev = (5.0, 5.0, 5.0, 4.0), (3.0, 3.0, 3.0, 2.5)
    tfconv_export.export(
        classifier(),
        path,
        representative_data=data,
        mean=mean,
        stddev=stddev,
        quantize="int8",
    )
    (graph,) = metadata_of(path).tables(3)
    (tensor,) = graph.tables(2)
    (unit,) = tensor.tables(4)
    assert unit.byte(0) == 1, "NormalizationOptions"
    assert unit.table(1).floats(0) == mean
    assert unit.table(1).floats(1) == stddev
    # And it was: the range of the input is that of the normalised data.
    scale, _zero_point = TFLiteFile(path).inputs["audio"]["quantization"]
    normalised = (data - np.array(mean)) / np.array(stddev)
    assert scale == pytest.approx(np.ptp(normalised) / 255, rel=0.02)


@pytest.mark.parametrize("given", ["file", "list"])
def test_labels_are_a_file_after_the_model(tmp_path, path, given):
    labels = ["yes", "no", "größer"]
    if given == "file":
        (tmp_path / "words.txt").write_text("\n".join(labels) + "\n")
    tfconv_export.export(
        classifier(),
        path,
        labels=tmp_path / "words.txt" if given == "file" else labels,
    )
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == labels
    (graph,) = metadata_of(path).tables(3)
    (tensor,) = graph.tables(3)
    (file,) = tensor.tables(6)
    assert file.string(0) == "labels.txt"
    assert file.byte(2) == 2, "TENSOR_AXIS_LABELS"
    found = TFLiteFile(path).run_one_output(models.DATA)
    expected = models.outputs_of(classifier(), models.DATA)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_export_gives_the_same_bytes(tmp_path):
    contents, model = set(), classifier()
    for name in ("a.tflite", "b.tflite"):
        tfconv_export.export(model, tmp_path / name, labels=["a", "b", "c"])
        contents.add((tmp_path / name).read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["yes", "no"], "2 names, .* 3 classes"),
        (["yes", "no", "no"], "'no' more than once"),
        (["yes", "", "no"], "every class"),
        ([], "every class"),
        ("missing.txt", "cannot be read"),
    ],
)
def test_labels_that_do_not_fit(path, labels, reason):
    with pytest.raises(tfconv_export.UsageError, match=reason):
        tfconv_export.export(classifier(), path, labels=labels)
    assert not path.exists()


def test_labels_of_what_is_no_classifier(path):
    with pytest.raises(tfconv_export.UsageError, match=r"scores \[1, 18, 4\]"):
        tfconv_export.export(models.linear(), path, labels=["yes", "no"])


def test_inspect_shows_the_metadata(run, workplace):
    tfconv_export.export(
        classifier(),
        "labelled.tflite",
        labels=["yes", "no", "größer"],
        model_version="1.4.2",
        mean=0.5,
    )
    outcome = run("inspect", "labelled.tflite")
    assert outcome.status == 0
    for said in ("keyword", "1.4.2", "0.5", "yes, no, größer"):
        assert said in outcome.stdout
