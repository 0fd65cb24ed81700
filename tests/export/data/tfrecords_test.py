"""TFRecord files and their feature specifications."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.export import models
from tests.export.readers import AUDIO
from tests.export.readers import COUNT
from tests.export.readers import X
from tests.export.readers import Y
from tests.export.readers import choose
from tests.export.readers import stacked
from tests.export.readers import write_records
from tfconv_export import calibration
from tfconv_export.data.sources import open_data
from tfconv_export.errors import UsageError
from tfconv_export.source import Input


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    write_records(folder / "audio.tfrecord", audio=X, label=Y)
    raw = np.rint(1000 * X).astype("<i2")
    write_records(folder / "audio.tfrecord.gz", "GZIP", audio=X, label=Y)
    write_records(folder / "raw.tfrecord", audio=raw)
    (folder / "empty.tfrecord").write_bytes(b"")
    (folder / "foreign.tfrecord").write_text("It is not what it says.\n" * 9)
    with tf.io.TFRecordWriter(str(folder / "other.tfrecord")) as writer:
        writer.write(b"\xff\xff no tf.train.Example")
    spec = {"audio": {"dtype": "float32", "shape": [6, 3]}}
    (folder / "spec.json").write_text(json.dumps(spec))
    (folder / "broken.json").write_text("{")
    (folder / "list.json").write_text("[1]")
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.mark.parametrize(
    "spec",
    [
        "audio:float32:6,3",
        " audio : float32 : 6, 3 ; label:int64: ;",
        "audio:float32:6,3;label:int64",
        "spec.json",
        {"audio": {"dtype": "float32", "shape": (6, 3)}},
        {"audio": tf.io.FixedLenFeature((6, 3), tf.float32)},
        {"audio": tf.io.FixedLenFeature([6, 3], "float32")},
    ],
)
def test_specification_in_every_form(spec):
    examples = choose("audio.tfrecord", feature_spec=spec)
    np.testing.assert_array_equal(stacked(examples), X)


@pytest.mark.parametrize("dtype", ["int16", "uint8"])
def test_bytes_are_decoded_as_tensorflow_does(dtype):
    shape = (6, 3) if dtype == "int16" else (36,)
    inputs = (Input("audio", shape, tf.float32),)
    examples = choose(
        "raw.tfrecord",
        inputs,
        feature_spec=f"audio:raw_{dtype}:{','.join(map(str, shape))}",
    )
    for example, record in zip(
        examples, tf.data.TFRecordDataset("raw.tfrecord"), strict=True
    ):
        parsed = tf.io.parse_single_example(
            record, {"audio": tf.io.FixedLenFeature([], tf.string)}
        )
        expected = tf.io.decode_raw(parsed["audio"], dtype)
        np.testing.assert_array_equal(
            example["audio"][0], tf.reshape(expected, shape)
        )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("audio", "NAME:DTYPE:SHAPE"),
        ("audio:float32:6,3:4", "NAME:DTYPE:SHAPE"),
        (":float32:6,3", "NAME:DTYPE:SHAPE"),
        ("a:int64:;a:int64:", "each feature once"),
        ("", "at least one feature"),
        (";", "at least one feature"),
        ("audio:float16:6,3", "the dtype float16"),
        ("audio:float:6,3", "the dtype float"),
        ("audio:raw_string:6,3", "the dtype raw_string"),
        ("audio:raw_O:6,3", "the dtype raw_O"),
        ("audio:float32:6,?", "the shape [6, '?']"),
        ("audio:float32:6,0", "the shape [6, 0]"),
        ("audio:float32:-1", "the shape ['-1']"),
        ("missing.json", "cannot be read: No such file"),
        ("broken.json", "cannot be read as JSON"),
        ("list.json", "at least one feature"),
        ({"audio": 3}, 'a "dtype" and a "shape"'),
        ({"audio": {"type": "float32"}}, 'a "dtype" and a "shape"'),
        ({"audio": {"dtype": "float32", "shape": 6}}, "the shape 6"),
        ({"audio": {"shape": [6]}}, "the dtype None"),
    ],
)
def test_specification_that_is_none(spec, told):
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        choose("audio.tfrecord", feature_spec=spec)
    assert "feature_spec" in str(error.value)


GOOD = "audio:float32:6,3"


@pytest.mark.parametrize(
    ("name", "spec", "told"),
    [
        ("audio.tfrecord", None, "audio (float, 18), label (int64, 1)"),
        ("empty.tfrecord", None, "--feature_spec"),
        ("foreign.tfrecord", None, "cannot be read as a TFRecord file"),
        ("empty.tfrecord", GOOD, "no examples"),
        ("foreign.tfrecord", GOOD, "cannot be read as a TFRecord file"),
        ("other.tfrecord", GOOD, "does not fit the --feature_spec in record 0"),
        ("audio.tfrecord", "mel:float32:6,3", "record 0: Feature: mel "),
        ("audio.tfrecord", "audio:float32:6,4", "audio (float, 18)"),
        ("audio.tfrecord", "audio:int64:6,3", "audio (float, 18)"),
        ("audio.tfrecord", "audio:raw_int16:6,3", "audio (float, 18)"),
        ("raw.tfrecord", "audio:raw_int16:6,4", "36 bytes, not 48"),
        ("raw.tfrecord", GOOD, "audio (bytes, 1)"),
        ("audio.tfrecord", "audio:float32:18", "(18,) in example 0"),
    ],
)
def test_records_that_do_not_fit(name, spec, told):
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        choose(name, feature_spec=spec)
    sentence = str(error.value)
    assert name in sentence
    assert "\n" not in sentence
    assert len(sentence) < 380


def test_feature_missing_from_a_later_record(tmp_path):
    path = tmp_path / "x.tfrecord"
    content = []
    for features in ({"audio": X[:3]}, {"other": X[:1]}):
        write_records(path, **features)
        content.append(path.read_bytes())
    path.write_bytes(b"".join(content))
    with pytest.raises(UsageError, match=r"record 3: .*audio.*other \(float"):
        choose(path, feature_spec=GOOD)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
@pytest.mark.parametrize("name", ["audio.tfrecord", "audio.tfrecord.gz"])
def test_damaged_file_is_refused(folder, tmp_path_factory, name, data):
    content = bytearray((folder / name).read_bytes())
    record = len(content) // COUNT
    place = data.draw(st.integers(0, len(content) - 1))
    is_cut = data.draw(st.booleans())
    if is_cut:
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content)
    if name.endswith("rd") and is_cut and place and place % record == 0:
        # Between two records: nothing tells that there were more.
        examples = choose(path, AUDIO, feature_spec=GOOD)
        assert len(examples) == place // record
        return
    try:
        examples = choose(path, AUDIO, feature_spec=GOOD)
    except UsageError as error:
        assert name in str(error)
        assert "\n" not in str(error)
        return
    # Not all in the frame of a gzip file is of use.
    assert name.endswith(".gz")
    np.testing.assert_array_equal(stacked(examples), X)


def test_one_specification_is_of_data_with_and_without_labels(tmp_path):
    x = models.examples(40, 4, count=3)
    for name, labels in (("with", [2, 0, 1]), ("without", [None] * 3)):
        with tf.io.TFRecordWriter(str(tmp_path / f"{name}.tfrecord")) as file:
            for example, label in zip(x, labels, strict=True):
                feature = {
                    "x": tf.train.Feature(
                        float_list=tf.train.FloatList(value=example.ravel())
                    )
                }
                if label is not None:
                    feature["label"] = tf.train.Feature(
                        int64_list=tf.train.Int64List(value=[label])
                    )
                file.write(
                    tf.train.Example(
                        features=tf.train.Features(feature=feature)
                    ).SerializeToString()
                )
    inputs = (Input("x", (40, 4), tf.float32),)
    for name, labelled in (("with", True), ("without", False)):
        reader = open_data(
            tmp_path / f"{name}.tfrecord",
            feature_spec="x:float32:40,4;label:int64:",
            labelled=labelled,
        )
        examples = calibration.choose(reader, inputs)
        found = np.concatenate([example["x"] for example in examples])
        np.testing.assert_array_equal(found, x)
    reader = open_data(
        tmp_path / "with.tfrecord",
        feature_spec="x:float32:40,4;label:int64:",
        labelled=True,
    )
    found = [y for _, y in calibration.choose(reader, inputs).labelled()]
    assert found == [2, 0, 1]
