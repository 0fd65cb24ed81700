"""tfconv-export inspect: the facts of any TFLite file."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from tests.export import models


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.usefixtures("wide")
def test_what_was_exported_is_shown(run, workplace):
    exported = run(
        "--model=model.keras",
        "--output=out.tflite",
        "--quantize=int8",
        "--representative_data=data.npy",
    )
    assert exported.status == 0
    outcome = run("inspect", "out.tflite")
    assert outcome.status == 0
    assert outcome.stderr == ""
    interpreter = litert.Interpreter(
        str(workplace / "out.tflite"),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    size = (workplace / "out.tflite").stat().st_size
    assert f"{size:,} bytes" in outcome.stdout
    (signature,) = interpreter.get_signature_list()
    assert signature in outcome.stdout
    for details in (
        *interpreter.get_input_details(),
        *interpreter.get_output_details(),
    ):
        scale, zero_point = details["quantization"]
        (line,) = (
            line
            for line in outcome.stdout.splitlines()
            if line.split()[:1] == [signature]
            and "x".join(map(str, details["shape"])) in line
        )
        assert "int8" in line
        assert f"{scale:.6g}" in line
        sign = "-" if zero_point >= 0 else "+"
        assert f"(q{sign}{abs(zero_point)})" in line
    lines = [
        line.split()[0] for line in outcome.stdout.splitlines() if line.strip()
    ]
    operators = [op["op_name"] for op in interpreter._get_ops_details()]
    for name in set(operators):
        assert lines.count(name) == operators.count(name)


@pytest.mark.usefixtures("wide")
def test_a_file_of_another_converter_is_shown(run, workplace):
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(2)])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (workplace / "other.tflite").write_bytes(converter.convert())
    outcome = run("inspect", "other.tflite")
    assert outcome.status == 0
    assert "?x?x4" in outcome.stdout
    assert "FULLY_CONNECTED" in outcome.stdout


@pytest.mark.parametrize("arguments", [(), ("a.tflite", "b.tflite")])
def test_it_takes_one_file(refused, arguments):
    assert "inspect FILE" in refused("inspect", *arguments)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing.tflite", "No such file"),
        ("saved_model", "directory"),
        ("model.keras", "not a TFLite file"),
        ("data.npy", "not a TFLite file"),
        ("empty.tflite", "not a TFLite file"),
    ],
)
def test_what_is_no_tflite_file_is_refused(refused, workplace, path, reason):
    (workplace / "empty.tflite").write_bytes(b"")
    sentence = refused("inspect", path)
    assert path in sentence
    assert reason in sentence


def test_a_damaged_file_is_a_sentence_or_still_a_table(run, workplace, convert):
    content = np.frombuffer(convert(models.network()), np.uint8)
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(60):
        damaged = content.copy()
        damaged[8 + random.integers(len(content) - 8, size=20)] = 0xFF
        cut = random.integers(9, len(content) + 1)
        (workplace / "damaged.tflite").write_bytes(damaged[:cut].tobytes())
        outcome = run("inspect", "damaged.tflite")
        assert outcome.status in (0, 2)
        assert "Traceback" not in outcome.stdout + outcome.stderr
        refusals += outcome.status == 2
    assert refusals
