"""What an export of a streaming file tells."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from tfconv_export.flatbuffer import Facts
from tfconv_export.result import Check
from tfconv_export.result import Endpoint
from tfconv_export.result import ExportResult
from tfconv_export.result import TargetReport

if TYPE_CHECKING:  # It imports TensorFlow, which a report does not need.
    from tfconv.streaming import Plan


@dataclasses.dataclass(frozen=True)
class StreamingState:
    """Frames that the caller of a streaming file keeps from hop to hop.

    The output has the dtype, the scale and the zero point of the input: its
    bytes are the input of the next hop, as they are.

    Attributes:
        name: string, the input.
        output_name: string, the output.
        layer: string, the call site that they are held for; see
            `tfconv.streaming.State`.
        shape: tuple, `(1, frames, channels)`, the oldest frame first.
        dtype: string.
        scale: float, of the quantization; `None` if there is none.
        zero_point: int, likewise.
    """

    name: str
    output_name: str
    layer: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None

    @property
    def initial_value(self) -> int:
        """Of every element, at the first hop: what stands for zero.

        That is the zero point, which mostly is not 0.
        """
        return self.zero_point or 0

    def initial(self) -> np.ndarray:
        """What to give at the first hop."""
        return np.full(self.shape, self.initial_value, self.dtype)


@dataclasses.dataclass(frozen=True)
class StreamingResult:
    """A streaming file that was exported.

    Attributes:
        output: string, the path of the file.
        quantize: string, the mode.
        state: string, `"external"` or `"internal"`.
        plan: the `tfconv.streaming.Plan`: hop, window, and from which hop on
            the outputs are the model's (`hops_until_full`).
        inputs: the file's inputs that are not states: one hop of frames of
            each input of the model, by its name.
        outputs: its outputs that are not states, by the model's names.
        states: what to hand from hop to hop; none if they are internal.
        size: int, bytes of the file.
        operators: dict from an operator to how often it occurs.
        checks: what was checked of the file; all have passed.
        facts: what is in the file.
        target: what the target's own tools say of it.
        whole: the `ExportResult` of the file for whole windows of the same
            model, which an integer streaming file equals in every bit.
    """

    output: str
    quantize: str
    state: str
    plan: "Plan"
    inputs: tuple[Endpoint, ...]
    outputs: tuple[Endpoint, ...]
    states: tuple[StreamingState, ...]
    size: int
    operators: dict[str, int]
    checks: tuple[Check, ...]
    facts: Facts = dataclasses.field(repr=False)
    target: TargetReport | None = None
    whole: ExportResult | None = None

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)
