"""Made-up results of exports, with all that a report can show."""

import dataclasses
import math

import numpy as np

from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import OperatorFacts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.result import Accuracy
from tfconv_export.result import Agreement
from tfconv_export.result import Check
from tfconv_export.result import CpuOperator
from tfconv_export.result import DataSummary
from tfconv_export.result import Endpoint
from tfconv_export.result import ExportResult
from tfconv_export.result import LayerError
from tfconv_export.result import Scatter
from tfconv_export.result import TargetReport

HOSTILE = "<script>alert('$x$')</script>\"&\x00\n\udcff层"
RUNTIMES = ("LiteRT XNNPACK", "LiteRT reference", "TFLite Micro")


def activation(name: str, steps: int = 49, channels: int = 24) -> TensorFacts:
    return TensorFacts(
        name, (1, 1, steps, channels), "int8", False, (0.05,), (-3,)
    )


def facts(blocks: int) -> Facts:
    """A chain of separable convolutions, a residual around each second."""
    source = TensorFacts("serving_default_x:0", (1, 98, 40), "int8", False)
    last, operators = source, []
    skip = None
    for block in range(blocks):
        depthwise = activation(f"model/block_{block}/depthwise/conv")
        pointwise = activation(f"model/block_{block}/pointwise/Relu;bias")
        kernel = TensorFacts(
            f"model/block_{block}/depthwise/kernel",
            (1, 9, 1, 24),
            "int8",
            True,
            (0.01,) * 24,
            (0,) * 24,
            3,
        )
        weights = dataclasses.replace(
            kernel, name=f"model/block_{block}/w", shape=(24, 1, 1, 24)
        )
        operators += [
            OperatorFacts(
                "DEPTHWISE_CONV_2D", (last, kernel, None), (depthwise,)
            ),
            OperatorFacts("CONV_2D", (depthwise, weights), (pointwise,)),
        ]
        if skip is not None and block % 2:
            total = activation(f"model/block_{block}/add")
            operators.append(OperatorFacts("ADD", (pointwise, skip), (total,)))
            pointwise = total
        last = skip = pointwise
    pooled = TensorFacts("model/pool/Mean", (1, 24), "int8", False)
    logits = TensorFacts("model/head/MatMul", (1, 12), "int8", False)
    output = TensorFacts("StatefulPartitionedCall:0", (1, 12), "int8", False)
    head = TensorFacts("model/head/kernel", (12, 24), "int4", True, (0.02,))
    operators += [
        OperatorFacts("MEAN", (last,), (pooled,)),
        OperatorFacts("FULLY_CONNECTED", (pooled, head), (logits,)),
        OperatorFacts("SOFTMAX", (logits,), (output,)),
    ]
    return Facts(
        size=45_120,
        operators=tuple(operators),
        inputs=(source,),
        outputs=(output,),
        constant_bytes=38_400,
        description="tfconv",
    )


def layers(file: Facts, noise: float = 0.0) -> tuple[LayerError, ...]:
    random = np.random.default_rng(0)
    found = []
    for place, operator in enumerate(file.operators):
        tensor = operator.outputs[0]
        sqnr = 44 - 0.5 * place - noise + random.normal(0, 1.5)
        low, high = -random.uniform(1, 6), random.uniform(2, 9)
        outside = noise and place % 3 == 1
        weights = "CONV" in operator.name or operator.name == "FULLY_CONNECTED"
        found.append(
            LayerError(
                tensor=tensor.name,
                layer=tensor.name.split("/", 2)[1]
                if "/" in tensor.name
                else "",
                operator=operator.name,
                shape=tensor.shape,
                sqnr_db=float(sqnr),
                dtype="int8",
                minimum=low,
                maximum=high,
                lowest=low * (0.6 if outside else 1.02),
                highest=high * (0.4 if outside else 1.02),
                clipped=0.083 if outside else 0.0,
                weight_minimum=-random.uniform(0.2, 2) if weights else None,
                weight_maximum=random.uniform(0.2, 2) if weights else None,
            )
        )
    found[-3] = dataclasses.replace(found[-3], sqnr_db=math.inf)
    return tuple(found)


def agreement(runtime: str, sqnr: float, output="scores") -> Agreement:
    return Agreement(
        runtime,
        output,
        200,
        0.0312,
        0.0312,
        sqnr,
        sqnr - 1.2,
        True,
        8.0,
        0.985,
    )


def scatter(runtime: str, error: float, output: str = "scores") -> Scatter:
    random = np.random.default_rng(1)
    expected = random.uniform(0, 1, 600) ** 3
    found = np.clip(expected + random.normal(0, error, 600), 0, 1 - 4 * error)
    return Scatter(runtime, output, tuple(expected), tuple(found))


def plain(blocks: int = 4) -> tuple[ExportResult, Facts]:
    """An int8 export for TFLite Micro, as it should be."""
    file = facts(blocks)
    result = ExportResult(
        model="keyword_spotting.keras",
        output="build/keyword_spotting.tflite",
        quantize="int8",
        io_dtype="int8",
        inputs=(Endpoint("features", (1, 98, 40), "int8", 0.0472, -3),),
        outputs=(Endpoint("scores", (1, 12), "int8", 1 / 256, -128),),
        model_size=181_220,
        size=file.size,
        operators=file.operator_counts,
        examples=200,
        examples_origin="features.npy",
        agreements=tuple(
            agreement(runtime, sqnr)
            for runtime, sqnr in zip(RUNTIMES, (33.9, 33.1, 33.1), strict=True)
        ),
        checks=(
            Check("operators", True, "11 operators, all of them TFLite's own"),
            Check("no float tensors", True, "0 of 31 tensors are float"),
            Check("LiteRT XNNPACK", True, "scores: 33.9 dB"),
            Check("LiteRT reference", True, "scores: 33.1 dB"),
            Check("TFLite Micro", True, "scores: 33.1 dB, arena 21,408 bytes"),
        ),
        data=(
            DataSummary(
                "features", "features.npy", 36_923, 500, -4.1, 6.9, 0.02, 0.98
            ),
        ),
        accuracies=(
            Accuracy("model", "scores", 1871, 2000),
            *(Accuracy(runtime, "scores", 1866, 2000) for runtime in RUNTIMES),
        ),
        layers=layers(file),
        scatters=tuple(scatter(runtime, 0.012) for runtime in RUNTIMES),
        target=TargetReport(
            "micro",
            arena_bytes=21_408,
            resolver="tflite::MicroMutableOpResolver<2> resolver;\n"
            "resolver.AddConv2D();\nresolver.AddDepthwiseConv2D();\n",
        ),
        arguments={
            "model": "my models/keyword_spotting.keras",
            "output": "build/keyword_spotting.tflite",
            "quantize": "int8",
            "representative_data": "features.npy",
            "input_shape": [98, 40],
            "io_dtype": None,
            "labels": "",
            "overwrite": True,
            "unsafe_deserialization": False,
        },
        versions={"tfconv": "0.3.0", "tensorflow": "2.21.0", "keras": "3.15.1"},
    )
    return result, file


def badly_calibrated() -> tuple[ExportResult, Facts]:
    """It passes, and should not be shipped."""
    result, file = plain()
    return (
        dataclasses.replace(
            result,
            agreements=tuple(agreement(name, 12.4) for name in RUNTIMES),
            accuracies=(
                Accuracy("model", "scores", 1871, 2000),
                Accuracy(RUNTIMES[0], "scores", 1402, 2000),
            ),
            layers=layers(file, 22.0),
            scatters=(scatter(RUNTIMES[0], 0.1),),
            warnings=(
                "block_1 clips 8.3 % of its values: the representative data "
                "does not cover what the model sees. Give more of it.",
                "Only 12 examples were used for calibration.",
            ),
        ),
        file,
    )


def failing() -> tuple[ExportResult, Facts]:
    """For an NPU, and refused."""
    result, file = badly_calibrated()
    return (
        dataclasses.replace(
            result,
            checks=(
                *result.checks[:2],
                Check(
                    "LiteRT XNNPACK",
                    False,
                    "scores: 4.2 dB, at least 10 are wanted: give "
                    "--representative_data like what the model was trained on",
                ),
                Check("NPU", False, "82 % of the operators, not 100 %"),
            ),
            agreements=(
                agreement(RUNTIMES[0], 4.2),
                dataclasses.replace(
                    agreement(RUNTIMES[1], math.nan), finite=False
                ),
            ),
            float_layers=("block_0", "head"),
            folded=("norm into conv and head",),
            equalized=("conv to head",),
            target=TargetReport(
                "ethos-u55-128",
                npu_operators=9,
                operators=11,
                cycles=412_345,
                clock_hz=500e6,
                sram_bytes=48_128,
                flash_bytes=39_040,
                cpu_operators=(
                    CpuOperator(
                        "SOFTMAX",
                        "StatefulPartitionedCall:0",
                        "Softmax of int8 input and int8 output is not "
                        "supported on this accelerator",
                    ),
                ),
                compiled=b"TFL3",
            ),
        ),
        file,
    )


def hostile() -> tuple[ExportResult, Facts]:
    """Every name is somebody's attack."""

    def poison(value):
        if isinstance(value, str):
            return HOSTILE
        if isinstance(value, tuple):
            return tuple(poison(item) for item in value)
        if isinstance(value, dict):
            return {
                key if key in ("model", "output") else HOSTILE: poison(item)
                for key, item in value.items()
            }
        if dataclasses.is_dataclass(value):
            return dataclasses.replace(
                value,
                **{
                    field.name: poison(getattr(value, field.name))
                    for field in dataclasses.fields(value)
                },
            )
        return value

    result, file = failing()
    return poison(result), poison(file)


def float32() -> tuple[ExportResult, Facts]:
    """Nothing is quantized, nothing differs."""
    result, file = plain(1)
    return (
        dataclasses.replace(
            result,
            quantize="none",
            io_dtype="float32",
            inputs=(Endpoint("features", (1, 98, 40), "float32"),),
            outputs=(Endpoint("scores", (1, 12), "float32"),),
            agreements=(agreement(RUNTIMES[0], math.inf),),
            layers=(),
            scatters=(),
            accuracies=(),
            data=(),
            target=None,
        ),
        file,
    )


def huge(blocks: int = 23) -> tuple[ExportResult, Facts]:
    """About 60 operators."""
    return plain(blocks)


ALL = {
    "plain": plain,
    "badly_calibrated": badly_calibrated,
    "failing": failing,
    "hostile": hostile,
    "float32": float32,
    "huge": huge,
}
