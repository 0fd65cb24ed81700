"""TFLite Micro computes what the reference kernels do, and says its needs."""

import functools
import subprocess
import sys

import keras
import numpy as np
import pytest

import tfconv
import tfconv_export
from tests.export import direct
from tests.export import models
from tests.export.tflite import TFLiteFile
from tests.export.tflite import operators_in
from tfconv_export import flatbuffer
from tfconv_export import micro
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError

pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")

# The names of the registering methods in tensorflow/tflite-micro's
# micro_mutable_op_resolver.h, for what convolutional networks turn into.
METHODS = {
    "ABS": "AddAbs",
    "ADD": "AddAdd",
    "ADD_N": "AddAddN",
    "ARG_MAX": "AddArgMax",
    "ASSIGN_VARIABLE": "AddAssignVariable",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "BATCH_MATMUL": "AddBatchMatMul",
    "BATCH_TO_SPACE_ND": "AddBatchToSpaceNd",
    "BROADCAST_TO": "AddBroadcastTo",
    "CALL_ONCE": "AddCallOnce",
    "CAST": "AddCast",
    "CONCATENATION": "AddConcatenation",
    "CONV_2D": "AddConv2D",
    "CUMSUM": "AddCumSum",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "DEQUANTIZE": "AddDequantize",
    "DIV": "AddDiv",
    "ELU": "AddElu",
    "EXP": "AddExp",
    "EXPAND_DIMS": "AddExpandDims",
    "FULLY_CONNECTED": "AddFullyConnected",
    "GATHER": "AddGather",
    "GATHER_ND": "AddGatherNd",
    "HARD_SWISH": "AddHardSwish",
    "L2_NORMALIZATION": "AddL2Normalization",
    "LEAKY_RELU": "AddLeakyRelu",
    "LOG": "AddLog",
    "LOGISTIC": "AddLogistic",
    "LOG_SOFTMAX": "AddLogSoftmax",
    "MAXIMUM": "AddMaximum",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "MINIMUM": "AddMinimum",
    "MIRROR_PAD": "AddMirrorPad",
    "MUL": "AddMul",
    "NEG": "AddNeg",
    "PACK": "AddPack",
    "PAD": "AddPad",
    "PADV2": "AddPadV2",
    "PRELU": "AddPrelu",
    "QUANTIZE": "AddQuantize",
    "READ_VARIABLE": "AddReadVariable",
    "REDUCE_MAX": "AddReduceMax",
    "RELU": "AddRelu",
    "RELU6": "AddRelu6",
    "RESHAPE": "AddReshape",
    "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor",
    "RSQRT": "AddRsqrt",
    "SELECT_V2": "AddSelectV2",
    "SHAPE": "AddShape",
    "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax",
    "SPACE_TO_BATCH_ND": "AddSpaceToBatchNd",
    "SPLIT": "AddSplit",
    "SPLIT_V": "AddSplitV",
    "SQRT": "AddSqrt",
    "SQUARE": "AddSquare",
    "SQUARED_DIFFERENCE": "AddSquaredDifference",
    "SQUEEZE": "AddSqueeze",
    "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub",
    "SUM": "AddSum",
    "SVDF": "AddSvdf",
    "TANH": "AddTanh",
    "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "UNPACK": "AddUnpack",
    "VAR_HANDLE": "AddVarHandle",
    "ethos-u": "AddEthosU",
}

# As its user would run it: one arena, given in bytes.
RUN_IN_ARENA = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime
interpreter = runtime.Interpreter.from_bytes(
    sys.stdin.buffer.read(), arena_size=int(sys.argv[1]))
details = interpreter.get_input_details(0)
interpreter.set_input(np.zeros(details["shape"], details["dtype"]), 0)
interpreter.invoke()
"""


@functools.cache
def three_blocks(quantize: str) -> bytes:
    blocks = [
        layer
        for dilation in (1, 2, 4)
        for layer in (
            tfconv.SeparableConv1D(
                8, 5, padding="causal", dilation_rate=dilation, use_bias=False
            ),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        )
    ]
    model = models.sequential(
        (40, 4),
        *blocks,
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(5),
    )
    return direct.convert(model, quantize)


@functools.cache
def one_layer(activation: str | None = None) -> bytes:
    layer = tfconv.DepthwiseConv1D(3, activation=activation)
    return direct.convert(models.sequential((20, 4), layer), "int8")


def runs_in(content: bytes, arena: int) -> bool:
    """Whether it does; in a process that may crash, as TFLite Micro can."""
    done = subprocess.run(
        [sys.executable, "-c", RUN_IN_ARENA, str(arena)],
        input=content,
        capture_output=True,
    )
    return done.returncode == 0


@pytest.mark.parametrize("quantize", ["none", "int8", "int16x8"])
def test_numbers_are_those_of_the_reference_kernels(quantize):
    content = three_blocks(quantize)
    runtime, file = micro.TFLiteMicro(content), TFLiteFile(content)
    found = np.concatenate(
        [
            runtime.run({"audio": example[None]})["scores"]
            for example in models.DATA
        ]
    )
    expected = file.run_one_output(models.DATA)
    step = file.outputs["scores"]["quantization"][0]
    limit = 1.01 * step if step else 1e-5 * np.ptp(expected)
    assert np.abs(found - expected).max() <= limit
    assert np.ptp(expected) > 20 * limit


def test_inputs_and_outputs_go_by_their_names_and_not_by_their_order():
    one, two = (
        keras.Input((6, 2), name="minuend"),
        keras.Input((6, 2), name="a"),
    )
    outputs = {
        "z": keras.layers.Subtract()([one, two]),
        "b": keras.layers.Multiply()([one, two]),
    }
    model = keras.Model([one, two], outputs)
    runtime = micro.TFLiteMicro(direct.convert(model))
    first, second = models.examples(6, 2, count=2)
    found = runtime.run({"a": second[None], "minuend": first[None]})
    assert set(found) == {"z", "b"}
    np.testing.assert_array_equal(found["z"][0], first - second)
    np.testing.assert_array_equal(found["b"][0], first * second)


def test_outputs_stay_when_the_next_example_runs():
    runtime = micro.TFLiteMicro(three_blocks("int8"))
    first = runtime.run({"audio": models.DATA[:1]})["scores"]
    before = first.copy()
    other = runtime.run({"audio": models.DATA[1:2]})["scores"]
    assert (other != before).any()
    np.testing.assert_array_equal(first, before)
    again = runtime.run({"audio": models.DATA[:1]})["scores"]
    np.testing.assert_array_equal(again, before)


# One where tensors decide, and one where TFLite Micro's planning does.
@pytest.mark.parametrize(
    "content", [lambda: three_blocks("none"), one_layer], ids=["large", "small"]
)
def test_reported_arena_is_the_smallest_in_which_the_file_runs(content):
    content = content()
    arena = micro.TFLiteMicro(content).arena_bytes
    assert arena % 16 == 0
    assert runs_in(content, arena)
    assert runs_in(content, 4 * arena)
    assert not runs_in(content, arena - 16)
    assert not runs_in(content, arena // 2)


def test_operator_that_it_lacks_is_named_and_nothing_else_is_said(capfd):
    content = one_layer("gelu")
    capfd.readouterr()
    with pytest.raises(CheckError, match=r"no operator GELU, .*--target=lit"):
        micro.TFLiteMicro(content)
    assert capfd.readouterr() == ("", "")


def test_crash_of_tflite_micro_is_a_sentence_and_not_a_crash(monkeypatch):
    # It does not survive an arena that cannot hold its own objects.
    monkeypatch.setattr(micro, "_LARGE_ARENA", 64)
    micro._occupied_arena.cache_clear()
    with pytest.raises(CheckError, match=r"crashes on this file \(SIG"):
        micro.TFLiteMicro(one_layer())


def test_file_that_is_run_otherwise_is_refused_in_its_words():
    wide = models.sequential(
        (40, 16), tfconv.SeparableConv1D(96, 9), tfconv.SeparableConv1D(96, 9)
    )
    content = direct.convert(wide, "dynamic")
    with pytest.raises(CheckError, match=r"Hybrid models are not supp[^\n]*$"):
        micro.TFLiteMicro(content)


def test_resolver_registers_the_operators_of_the_file_and_no_others():
    content = three_blocks("int8")
    expected = {METHODS[name] for name in operators_in(content)}
    first, *lines = micro.resolver(flatbuffer.read(content)).splitlines()
    count = len(expected)
    assert first == f"tflite::MicroMutableOpResolver<{count}> resolver;"
    assert lines == [
        f"TF_LITE_ENSURE_STATUS(resolver.{method}());"
        for method in sorted(expected)
    ]


@pytest.mark.parametrize("operator", METHODS)
def test_method_is_spelled_as_in_tflite_micro(operator):
    assert micro.method(operator) == METHODS[operator]


def test_absent_package_is_a_sentence_that_names_the_extra(monkeypatch):
    monkeypatch.setattr(micro.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'tfconv\[micro\]'"):
        micro.TFLiteMicro(b"")


class Shifted(micro.TFLiteMicro):
    """TFLite Micro as it would be with an error of so many steps."""

    def run(self, inputs):
        outputs = super().run(inputs)
        return {
            name: value + self.steps * self.step(name)
            for name, value in outputs.items()
        }


@pytest.mark.parametrize(("steps", "failed"), [(1, 0), (2, 1)])
def test_numbers_that_are_not_those_of_the_reference_kernels_fail(
    tmp_path, monkeypatch, steps, failed
):
    Shifted.steps = steps
    monkeypatch.setattr(micro, "TFLiteMicro", Shifted)
    try:
        result = tfconv_export.export(
            models.network(),
            tmp_path / "model.tflite",
            quantize="int8",
            representative_data=models.DATA,
            target="micro",
        )
    except tfconv_export.CheckError as error:
        result = error.result
    names = [check.name for check in result.failed]
    assert names == ["TFLite Micro as LiteRT reference, output scores"] * failed
