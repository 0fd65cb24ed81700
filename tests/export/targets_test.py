"""A target takes what runs there, and says why where it does not."""

import functools
import importlib.util

import keras
import pytest
import tensorflow as tf

import tfconv
from tests.export import direct
from tests.export import models
from tfconv_export import flatbuffer
from tfconv_export import targets
from tfconv_export.errors import UsageError

MODES = ["none", "float16", "dynamic", "int8", "int16x8"]
NPU = "ethos-u55-128"

every_mode = pytest.mark.parametrize("quantize", MODES)


@pytest.fixture
def micro():
    pytest.importorskip("tflite_micro", reason="no tflite-micro")


@pytest.fixture
def ethos_u():
    pytest.importorskip("ethosu", reason="ethos-u-vela is not installed")


@functools.cache
def file(quantize: str, strides: int = 1, io=None) -> bytes:
    # Wide: the converter leaves small weights in float in mode dynamic.
    model = models.sequential(
        (40, 16),
        tfconv.SeparableConv1D(96, 9),
        tfconv.SeparableConv1D(96, 9),
        tfconv.DepthwiseConv1D(9, strides=strides, name="last"),
    )
    return direct.convert(model, quantize, io)


@functools.cache
def selu() -> bytes:
    layer = tfconv.SeparableConv1D(8, 3, activation="selu", name="steep")
    last = tfconv.DepthwiseConv1D(3)
    return direct.convert(models.sequential((40, 4), layer, last), "int8")


def judge(target: str, content: bytes, **options):
    facts = flatbuffer.read(content)
    report, checks = targets.judge(target, content, facts, **options)
    assert report.target == target
    return report, {check.name: check for check in checks}


def accepts(target: str, quantize: str) -> bool:
    try:
        targets.check_request(target, quantize)
    except UsageError as error:
        assert f"--target={target}" in str(error)
        assert f"--quantize={quantize}" in str(error)
        assert "int8" in str(error)
        return False
    return True


@every_mode
def test_micro_accepts_the_modes_that_tflite_micro_runs(micro, quantize):
    report, checks = judge("micro", file(quantize))
    check = checks["runs on TFLite Micro"]
    assert accepts("micro", quantize) == check.passed
    assert (report.arena_bytes is not None) == check.passed
    if check.passed:
        assert str(report.arena_bytes) in check.detail
        assert "AddDepthwiseConv2D()" in report.resolver


@every_mode
def test_ethos_u_accepts_the_modes_that_leave_nothing_on_the_cpu(
    ethos_u, quantize
):
    report, checks = judge(NPU, file(quantize))
    assert checks[f"compiles for {NPU}"].passed
    assert accepts(NPU, quantize) == (not report.cpu_operators)
    assert accepts(NPU, quantize) == checks["operators on the NPU"].passed


@every_mode
def test_litert_accepts_every_mode_and_needs_no_package(monkeypatch, quantize):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert accepts("litert", quantize)
    _, checks = judge("litert", file(quantize))
    assert not checks


def test_operator_left_to_the_cpu_fails_only_if_all_must_be_on_the_npu(
    ethos_u,
):
    content = file("int8", strides=4)
    for require_npu in (False, True):
        _, checks = judge(NPU, content, require_npu=require_npu)
        assert checks[f"compiles for {NPU}"].passed
        assert "without what the CPU" in checks[f"compiles for {NPU}"].detail
        check = checks["operators on the NPU"]
        assert check.passed != require_npu
        assert "DEPTHWISE_CONV_2D" in check.detail
        assert "Kernel stride must be in the range (1,3)" in check.detail
        assert ("--norequire_npu" in check.detail) == require_npu


def test_float_interface_is_told_that_it_keeps_operators_off_the_npu(ethos_u):
    content = file("int8", io=tf.float32)
    _, checks = judge(NPU, content, require_npu=True)
    check = checks["operators on the NPU"]
    assert not check.passed
    assert "QUANTIZE" in check.detail
    assert check.detail.endswith("Choose an integer --io_dtype.")


def test_operator_that_tflite_micro_lacks_fails_by_its_name(micro):
    layer = tfconv.DepthwiseConv1D(3, activation="gelu")
    content = direct.convert(models.sequential((20, 4), layer))
    report, checks = judge("micro", content)
    check = checks["runs on TFLite Micro"]
    assert not check.passed
    assert "no operator GELU" in check.detail
    assert report.arena_bytes is None


@pytest.mark.parametrize("installed", [True, False])
def test_what_the_npu_leaves_must_be_in_tflite_micro(
    ethos_u, monkeypatch, installed
):
    # Of SELU it leaves GREATER and SELECT, of which there is no second.
    if not installed:
        monkeypatch.setattr(targets.micro, "is_installed", lambda: False)
    report, checks = judge(NPU, selu())
    assert checks[f"compiles for {NPU}"].passed
    check = checks["runs on TFLite Micro"]
    assert not check.passed
    assert "no operator SELECT" in check.detail
    assert "steep" in check.detail
    assert report.resolver == ""


def test_what_the_npu_leaves_must_run_in_its_dtype(ethos_u, micro):
    # TFLite Micro's SQRT is for float32 only.
    inputs = keras.Input((40, 4), name="audio")
    x = keras.ops.std(tfconv.DepthwiseConv1D(3)(inputs), axis=2, keepdims=True)
    model = keras.Model(inputs, tfconv.DepthwiseConv1D(3)(x))
    _, checks = judge(NPU, direct.convert(model, "int8"))
    assert "SQRT in int8" in checks["runs on TFLite Micro"].detail


def test_file_that_does_not_compile_fails_and_does_not_raise(ethos_u):
    facts = flatbuffer.read(file("int8"))
    report, checks = targets.judge(NPU, b"damaged", facts)
    (check,) = checks
    assert not check.passed
    assert check.name == f"compiles for {NPU}"
    assert report.compiled is None


def test_unknown_target_is_told_the_known_ones():
    with pytest.raises(UsageError) as caught:
        targets.check_request("ethos-u55", "int8")
    assert "--target=ethos-u55 " in str(caught.value)
    for name in ("litert", "micro", "ethos-u55-32", "ethos-u85-2048"):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("target", "extra"), [("micro", "micro"), (NPU, "ethos-u")]
)
def test_absent_judge_is_noticed_before_anything_is_converted(
    monkeypatch, target, extra
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        targets.check_request(target, "int8")
    assert f"pip install 'tfconv[{extra}]'" in str(caught.value)
