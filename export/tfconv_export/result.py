"""What an export made, and what is known of it."""

import dataclasses

from tfconv_export.verification import Agreement
from tfconv_export.verification import Check


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was made, and what is known of it.

    Attributes:
        model: string, where the model came from.
        output: string, the path of the file.
        quantize: string, the mode.
        io_dtype: string, of input and outputs.
        input_name: string.
        input_shape: tuple of ints, the batch of 1 included.
        model_size: int, bytes of the model on disk, or `None`.
        size: int, bytes of the file.
        operators: dict from an operator's name to how many there are.
        examples: int, on how many the file was compared with the model.
        examples_origin: string, where those came from.
        agreements: for each runtime and output, how close it comes.
        checks: everything that was looked at.
    """

    model: str
    output: str
    quantize: str
    io_dtype: str
    input_name: str
    input_shape: tuple[int, ...]
    model_size: int | None
    size: int
    operators: dict[str, int]
    examples: int
    examples_origin: str
    agreements: tuple[Agreement, ...]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)
