"""What an export made, and what is known of it."""

import dataclasses
import math
from typing import Any

# To be said wherever such a file is described.
RESET_BEFORE_EACH_WINDOW = (
    "an operator keeps its state from one invocation to the next: reset it "
    "before every window, with Reset() of TFLite Micro's interpreter, and "
    "ResetVariableTensors(), in Python reset_all_variables(), of LiteRT's"
)


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: string, what.
        passed: bool.
        detail: string, what was found, and, where it failed, the remedy.
    """

    name: str
    passed: bool
    detail: str


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """An input or an output of the file.

    Attributes:
        name: string, its name in the file's signature.
        shape: tuple of ints, the batch of 1 included.
        dtype: string.
        scale: float, of its quantization; `None` if it is not quantized.
        zero_point: int; `None` likewise.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How close one output on one runtime comes to the trained model's.

    Attributes:
        runtime: string.
        output: string, the output's name.
        examples: int, how many were compared.
        max_error: float, the largest absolute difference.
        relative_error: float, that divided by the width of the trained
            model's outputs, zero included.
        sqnr_db: float, the signal-to-quantization-noise ratio
            `10 * log10(sum(y**2) / sum((y - file)**2))` in decibels; infinite
            if there is no difference.
        median_sqnr_db: float, the median of the examples' own: one that is
            far louder than the others does not hide them.
        finite: bool, whether all that both computed is.
        max_error_steps: float, the largest difference in steps of the
            output's quantization (LSB); `None` if it is not quantized.
        same_argmax: float, of the examples, the share for which the largest
            value stands at the same place of the last axis; `None` where that
            axis has one place.
        log_odds_sqnr_db: float, of probabilities, the ratio of what they tell
            in bits; see `probabilities.sqnr_db`. `None` of other outputs.
        data: string, `"representative"` or `"evaluation"`: what the examples
            are.
    """

    runtime: str
    output: str
    examples: int
    max_error: float
    relative_error: float
    sqnr_db: float
    median_sqnr_db: float
    finite: bool
    max_error_steps: float | None = None
    same_argmax: float | None = None
    log_odds_sqnr_db: float | None = None
    data: str = "representative"

    @property
    def judged_db(self) -> float:
        """The ratio that is held against the floor; NaN if undefined."""
        if self.log_odds_sqnr_db is not None:
            return self.log_odds_sqnr_db
        # Of NaN and another, `min` gives the first.
        ratios = self.sqnr_db, self.median_sqnr_db
        return math.nan if any(map(math.isnan, ratios)) else min(ratios)


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How often what an output says is the label.

    Attributes:
        runtime: string; `"model"` is the trained model itself.
        output: string, the output's name.
        correct: int, how many examples; where several labels may be true, how
            many labels of all examples.
        examples: int, of how many.
        lost: int, of those, what the model has right and the file wrong.
        gained: int, what the file has right and the model wrong.
    """

    runtime: str
    output: str
    correct: int
    examples: int
    lost: int = 0
    gained: int = 0


@dataclasses.dataclass(frozen=True)
class Scatter:
    """Pairs of what the model and the file computed.

    Attributes:
        runtime: string.
        output: string, the output's name.
        expected: tuple of floats, the trained model's; some of them.
        found: tuple of floats, the file's.
    """

    runtime: str
    output: str
    expected: tuple[float, ...]
    found: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class LayerError:
    """How far quantization moved what one operator computes.

    Attributes:
        tensor: string, the name of the operator's output in the file.
        layer: string, the Keras layer or scope it comes from.
        operator: string, such as `"DEPTHWISE_CONV_2D"`.
        shape: tuple of ints, of the output.
        sqnr_db: float, against the float model's value of the same tensor.
        dtype: string, what it is stored in.
        minimum: float, the smallest value in the float model.
        maximum: float, the largest one.
        lowest: float, the smallest value its quantization can hold; `None`
            if it is not quantized.
        highest: float, the largest one; `None` likewise.
        clipped: float, the share of the float model's values outside of them.
        weight_minimum: float, the smallest weight; `None` without weights.
        weight_maximum: float, the largest one; `None` likewise.
    """

    tensor: str
    layer: str
    operator: str
    shape: tuple[int, ...]
    sqnr_db: float
    dtype: str
    minimum: float
    maximum: float
    lowest: float | None = None
    highest: float | None = None
    clipped: float = 0.0
    weight_minimum: float | None = None
    weight_maximum: float | None = None


@dataclasses.dataclass(frozen=True)
class DataSummary:
    """What was read for one input.

    Attributes:
        input: string, the input's name.
        origin: string, where the examples come from.
        available: int, how many there are.
        used: int, how many were chosen of them.
        minimum: float, the smallest value of those used.
        maximum: float, the largest one.
        mean: float.
        stddev: float.
    """

    input: str
    origin: str
    available: int
    used: int
    minimum: float
    maximum: float
    mean: float
    stddev: float


@dataclasses.dataclass(frozen=True)
class CpuOperator:
    """An operator that an NPU leaves to the CPU.

    Attributes:
        name: string, TFLite's, such as `"SOFTMAX"`.
        output: string, the name of its output.
        reason: string, in the compiler's words.
    """

    name: str
    output: str
    reason: str


@dataclasses.dataclass(frozen=True)
class TargetReport:
    """What the target's own compiler or interpreter says.

    Attributes:
        target: string, as `--target` names it.
        arena_bytes: int, of the memory that TFLite Micro needs for tensors;
            `None` if it was not run.
        resolver: string, C++ that registers the operators; empty if the
            target registers none.
        npu_operators: int, how many operators the NPU runs; `None` without.
        operators: int, of how many, as the NPU's compiler counts them.
        cycles: int, the compiler's estimate for one inference; `None` without.
        clock_hz: float, at which `cycles` make `cycles / clock_hz` seconds.
        sram_bytes: int, the compiler's peak of SRAM; `None` without an NPU.
        flash_bytes: int, the compiler's sum of constants; `None` likewise.
        cpu_operators: tuple, those left to the CPU, with the reason.
        compiled: bytes, the file that the NPU runs; `None` without.
    """

    target: str
    arena_bytes: int | None = None
    resolver: str = ""
    npu_operators: int | None = None
    operators: int | None = None
    cycles: int | None = None
    clock_hz: float | None = None
    sram_bytes: int | None = None
    flash_bytes: int | None = None
    cpu_operators: tuple[CpuOperator, ...] = ()
    compiled: bytes | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was made, and what is known of it.

    Attributes:
        model: string, where the model came from.
        output: string, the path of the file.
        quantize: string, the mode.
        io_dtype: string, of inputs and outputs.
        inputs: the file's, in order.
        outputs: the file's, in order.
        model_size: int, bytes of the model on disk, or `None`.
        size: int, bytes of the file.
        operators: dict from an operator's name to how many there are.
        examples: int, on how many the file was compared with the model.
        examples_origin: string, where those came from.
        agreements: for each runtime and output, how close it comes.
        checks: everything that was looked at.
        data: what was read, for each input.
        accuracies: of the model and of the file, where there are labels.
        layers: how far quantization moved each operator, in their order.
        scatters: pairs of what the model and the file computed.
        float_layers: the layers that were left in float.
        folded: the batch normalizations that became part of other layers, or
            depthwise convolutions.
        equalized: the layers whose channels were evened out.
        keeps_state: whether an operator keeps its state from one invocation to
            the next, so that the device has to reset it before every window.
        target: what the target's own tools say, or `None`.
        warnings: what did not fail, and may spoil the model all the same.
        arguments: the arguments of the export, to do it again.
        versions: dict from a package to its version.
    """

    model: str
    output: str
    quantize: str
    io_dtype: str
    inputs: tuple[Endpoint, ...]
    outputs: tuple[Endpoint, ...]
    model_size: int | None
    size: int
    operators: dict[str, int]
    examples: int
    examples_origin: str
    agreements: tuple[Agreement, ...]
    checks: tuple[Check, ...]
    data: tuple[DataSummary, ...] = ()
    accuracies: tuple[Accuracy, ...] = ()
    layers: tuple[LayerError, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    float_layers: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    equalized: tuple[str, ...] = ()
    keeps_state: bool = False
    target: TargetReport | None = None
    warnings: tuple[str, ...] = ()
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)
