"""Where examples may come from, and which array is which."""

import itertools
import re
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from tests.export.readers import AUDIO
from tests.export.readers import COUNT
from tests.export.readers import EXTRA
from tests.export.readers import TWO
from tests.export.readers import X
from tests.export.readers import Y
from tests.export.readers import choose
from tests.export.readers import stacked
from tests.export.readers import write_records
from tfconv_export.data import sources
from tfconv_export.errors import UsageError
from tfconv_export.source import Input

SPEC = "audio:float32:6,3; extra:int64:2; label:int64:"
PROGRAM = """
from __future__ import annotations
import dataclasses
import numpy as np
import beside

@dataclasses.dataclass
class Nothing:
    x: int

def examples():
    from beside import SCALE
    x = np.load("all.npz")
    for audio, extra, label in zip(x["audio"], x["extra"], x["label"]):
        yield {"audio": SCALE * audio, "extra": extra}, label
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The same examples in files of every kind, one after the other."""
    root = tmp_path_factory.mktemp("sources")
    everything = {"audio": X, "extra": EXTRA, "label": Y}
    np.savez(root / "all.npz", **everything)
    np.savez_compressed(root / "small.npz", **everything)
    for folder in ("split", "single", "mixed", "records", "empty", "both"):
        (root / folder).mkdir()

    def part(start, end):
        return {name: value[start:end] for name, value in everything.items()}

    np.savez(root / "split" / "a.npz", **part(0, 5))
    np.savez_compressed(root / "split" / "b.npz", **part(5, 5))
    np.savez_compressed(root / "split" / "c.npz", **part(5, COUNT))
    for index in range(COUNT):
        np.savez(
            root / "single" / f"{index:02}.npz",
            **{name: value[index] for name, value in everything.items()},
        )
    np.savez(root / "mixed" / "0.npz", **part(0, 4))
    np.savez(
        root / "mixed" / "1.npz",
        **{name: value[4] for name, value in everything.items()},
    )
    np.savez(root / "mixed" / "2.npz", **part(5, COUNT))
    (root / "mixed" / "README.txt").write_text("Not data.\n")
    write_records(root / "records" / "a.tfrecord", **part(0, 5))
    write_records(root / "records" / "b.tfrecord-00001-of-2", **part(5, COUNT))
    write_records(root / "all.tfrecord.gz", "GZIP", **everything)
    write_records(root / "all.rec", **everything)
    np.save(root / "both" / "a.npy", X)
    write_records(root / "both" / "b.tfrecord", **everything)
    np.save(root / "audio.npy", X)
    np.save(root / "one.npy", X[0])
    (root / "program.py").write_text(PROGRAM)
    (root / "beside.py").write_text("SCALE = 1\n")
    (root / "exits.py").write_text("raise SystemExit(3)\n")
    return root


def _in_memory():
    return {"audio": X, "extra": EXTRA, "label": Y}


SOURCES = {
    "npz": "all.npz",
    "compressed_npz": "small.npz",
    "directory_of_batches": "split",
    "directory_of_examples": "single",
    "directory_of_both": "mixed",
    "pattern_of_npz": "s*l*t/*.npz",
    "tfrecord": "records/*.tfrecord*",
    "directory_of_tfrecords": "records",
    "tfrecord_gzip": "all.tfrecord.gz",
    "tfrecord_of_another_name": "all.rec",
    "module": "program:examples",
    "python_file": "program.py:examples",
    "dict": _in_memory(),
    "pair": ({"audio": X, "extra": EXTRA}, Y),
    "dataset": tf.data.Dataset.from_tensor_slices(_in_memory()),
    "function_of_dicts": lambda: (
        {"audio": x, "extra": e, "labels": y}
        for x, e, y in zip(X, EXTRA, Y, strict=True)
    ),
    "function_of_pairs": lambda: [
        ({"audio": x.tolist(), "extra": list(e)}, int(y))
        for x, e, y in zip(X, EXTRA, Y, strict=True)
    ],
}


@pytest.mark.parametrize("name", SOURCES)
def test_same_examples_come_from_every_source(files, monkeypatch, name):
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    monkeypatch.setattr(sys, "path", sys.path.copy())
    front = sys.path[0]
    examples = choose(SOURCES[name], TWO, labelled=True, feature_spec=SPEC)
    assert examples.summaries[0].available == COUNT
    for _ in range(2):
        np.testing.assert_array_equal(stacked(examples), X)
        np.testing.assert_array_equal(stacked(examples, "extra"), EXTRA)
    found = list(examples.labelled())
    assert [label for _, label in found] == Y.tolist()
    assert all(type(label) is int for _, label in found)
    np.testing.assert_array_equal(stacked(x for x, _ in found), X)
    # Without labels they are the same, and so is the choice.
    unlabelled = choose(
        SOURCES[name] if name != "pair" else SOURCES[name][0],
        TWO,
        feature_spec=SPEC,
        count=5,
        seed=2,
    )
    chosen = choose(X, count=5, seed=2)
    np.testing.assert_array_equal(stacked(unlabelled), stacked(chosen))
    assert sys.path[0] == front


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, COUNT), max_size=6), single=st.booleans())
def test_any_split_into_files_gives_the_same_examples(
    tmp_path_factory, cuts, single
):
    folder = tmp_path_factory.mktemp("cuts")
    edges = [0, *sorted(cuts), COUNT]
    for index, (start, end) in enumerate(itertools.pairwise(edges)):
        if single and end == start + 1:
            np.save(folder / f"{index}.npy", X[start])
        else:
            np.save(folder / f"{index}.npy", np.asfortranarray(X[start:end]))
    np.testing.assert_array_equal(stacked(choose(folder)), X)
    np.testing.assert_array_equal(
        stacked(choose(folder, count=4, seed=9)),
        stacked(choose(X, count=4, seed=9)),
    )


@pytest.mark.parametrize(
    "open_shape", [(None, 3), (6, None), (None, None), (6, 3)]
)
@pytest.mark.parametrize("name", SOURCES)
def test_shapes_are_known_before_the_open_dimensions_are(
    files, monkeypatch, name, open_shape
):
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    monkeypatch.setattr(sys, "path", sys.path.copy())
    inputs = (Input("audio", open_shape, tf.float32), TWO[1])
    reader = sources.open_data(SOURCES[name], labelled=True, feature_spec=SPEC)
    assert reader.shapes(inputs) == {"audio": (6, 3), "extra": (2,)}


@pytest.mark.parametrize(
    ("arrays", "key", "taken"),
    [
        ({"anything": X}, None, "anything"),
        ({"audio": X, "other": X}, None, "audio"),
        ({"x": X, "y": Y}, None, "x"),
        ({"a": X, "b": X}, "b", "b"),
        ({"audio": X, "b": X}, "b", "b"),
        ({"b": X, "wrong": X[..., :2], "steps": X[:, :2]}, None, "b"),
    ],
)
def test_array_of_one_input_is_found(arrays, key, taken):
    arrays = {name: array + (name == taken) for name, array in arrays.items()}
    examples = choose(arrays, key=key)
    np.testing.assert_array_equal(stacked(examples), X + 1)


def test_arrays_may_have_the_names_of_the_layers():
    inputs = tuple(
        Input(name, item.shape, item.dtype)
        for name, item in zip(("mel_40", "tf.x"), TWO, strict=True)
    )
    examples = choose({"mel 40": X, "tf.x": EXTRA}, inputs)
    np.testing.assert_array_equal(stacked(examples, "mel_40"), X)


HOT = np.eye(5, dtype=np.float32)[Y]


@pytest.mark.parametrize(
    "labels",
    [Y, Y[:, None], Y.astype("f4"), Y.astype(np.uint8), HOT, Y > 2, HOT * 1j],
)
def test_labels_may_be_integers_or_rows_of_numbers(labels):
    source = {"x": X, "y": labels}
    if labels.dtype.kind == "c":
        with pytest.raises(UsageError, match="complex64 as the label"):
            choose(source, labelled=True)
        return
    found = [label for _, label in choose(source, labelled=True).labelled()]
    if labels is HOT:
        np.testing.assert_array_equal(found, HOT)
    else:
        assert found == (labels if labels.dtype == bool else Y).tolist()


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (Y - 9, "-[0-9] of shape .* example 0"),
        (Y + 0.5, r"\.5 of shape"),
        (np.full(COUNT, np.nan), "nan of shape"),
        (np.zeros((COUNT, 3, 2)), r"shape \(3, 2\)"),
        (np.full(COUNT, "dog"), "dog of shape"),
        (HOT * np.nan, r"shape \(5,\)"),
        (Y[:5], "12 of audio, 5 of the labels"),
    ],
)
def test_labels_that_are_none(labels, told):
    with pytest.raises(UsageError, match=told):
        choose({"x": X, "labels": labels}, labelled=True)


@pytest.mark.parametrize(
    "label", [(np.zeros(2), np.zeros(3)), {"a": 0, "b": 1}], ids=type
)
def test_labels_of_several_outputs_are_told(label):
    with pytest.raises(UsageError, match="several arrays as the label"):
        choose(lambda: ((x, label) for x in X), labelled=True)


def test_labels_of_another_name():
    source = {"x": X, "y": Y, "class": Y + 1}
    options = {"labelled": True, "key": "x", "label_key": "class"}
    found = choose(source, **options).labelled()
    assert [label for _, label in found] == (Y + 1).tolist()
    found = choose((X, Y), **options).labelled()
    assert [label for _, label in found] == Y.tolist()


def test_evaluation_data_is_called_by_its_own_flag(files, monkeypatch):
    monkeypatch.chdir(files)
    options = {"argument": "evaluation_data", "labelled": True}
    with pytest.raises(UsageError) as error:
        choose("audio.npy", **options)
    assert str(error.value).startswith("--evaluation_data=audio.npy holds no")
    assert "(x, y)" in str(error.value)
    with pytest.raises(UsageError, match="--evaluation_key"):
        choose({"a": X, "b": X, "y": Y}, **options)


def _raise():
    yield X[0]
    raise KeyError("no such file")


REFUSED = {
    "one array for several inputs": (X, TWO, "no array named audio"),
    "an input without data": ({"audio": X}, TWO, "no array named extra"),
    "numbers that differ": (
        {"audio": X, "extra": EXTRA[:5]},
        TWO,
        "12 of audio, 5 of extra",
    ),
    "an empty function": (lambda: [], AUDIO, "no examples"),
    "no example": (X[:0], AUDIO, "no examples"),
    "a generator": ((x for x in X), AUDIO, "not the generator itself"),
    "an example": (X[0], AUDIO, "array[None]"),
    "a batch": (lambda: [X[:1]], AUDIO, "leave out the batch axis"),
    "a batch of more": (
        tf.data.Dataset.from_tensor_slices(X).batch(4),
        AUDIO,
        "leave out the batch axis",
    ),
    "examples that differ": (
        lambda: [X[0], X[0, :5]],
        AUDIO,
        "(5, 3) in example 1, but the model takes (6, 3)",
    ),
    "a failing function": (
        _raise,
        AUDIO,
        "failed after 1 examples: KeyError: 'no such file'",
    ),
    "no iterable": (lambda: 3, AUDIO, "not iterable"),
    "a triple": (lambda: [(X[0], 1, 2)], AUDIO, "tuple of 3"),
    "strings": (lambda: ["a"], AUDIO, "dtype is <U1"),
    "ragged": ([[1], [2, 3]], AUDIO, "one shape"),
    "objects": (np.array([None, {}]), AUDIO, "dtype is object"),
    "a missing file": ("missing.npy", AUDIO, "is not a file"),
    "nothing": ("", AUDIO, "is not a file"),
    "an empty folder": ("empty", AUDIO, "empty holds no .npy"),
    "a pattern of nothing": ("*.nothing", AUDIO, "matches no file"),
    "another file": ("beside.py", AUDIO, "beside.py must be a .npy"),
    "both kinds": ("both", AUDIO, "one of the two"),
    "one example": ("one.npy", AUDIO, "array[None]"),
    "no module": ("nowhere:examples", AUDIO, "No module named 'nowhere'"),
    "no python file": ("nowhere.py:examples", AUDIO, "cannot be imported"),
    "a program that ends": ("exits.py:examples", AUDIO, "SystemExit"),
    "no function": ("program.py:other", AUDIO, "other in program.py is none"),
    "not a function": ("beside.py:SCALE", AUDIO, "SCALE in beside.py is a"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_cannot_be_used(files, monkeypatch, name):
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    source, inputs, told = REFUSED[name]
    with pytest.raises(UsageError, match=re.escape(told)) as error:
        choose(source, inputs)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert len(sentence) < 380


def test_file_of_another_shape_is_named(tmp_path):
    np.save(tmp_path / "0.npy", X)
    np.save(tmp_path / "1.npy", X[:, :5])
    with pytest.raises(UsageError, match=r"1\.npy holds .* \(12, 5, 3\)"):
        choose(tmp_path)


@pytest.mark.parametrize("change", ["fewer", "none", "more"])
def test_function_that_does_not_start_anew(change):
    calls = iter({"fewer": [9, 8], "none": [9, 0], "more": [9, 10]}[change])
    with pytest.raises(UsageError, match="9 examples the first time"):
        choose(lambda: X[: next(calls)])
    # Of a function that gives one generator, always the same one.
    generator = (x for x in X)
    with pytest.raises(UsageError, match="12 examples the first time and 0"):
        choose(lambda: generator)
