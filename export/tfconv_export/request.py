"""What an export is asked for, and whether it makes sense."""

import dataclasses
import math
import os
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfconv_export import targets
from tfconv_export.conversion import Recipe
from tfconv_export.errors import UsageError
from tfconv_export.progress import Progress
from tfconv_export.source import Shapes

Path = os.PathLike | str
Data = Path | np.ndarray | dict[str, np.ndarray] | Callable

_DATA = ("representative_data", "data_function")

# What would do nothing without one of these.
_NEEDS = {
    "representative_key": ("representative_data", "evaluation_data"),
    "feature_spec": ("representative_data", "evaluation_data"),
    "num_calibration_examples": _DATA,
    "num_evaluation_examples": ("evaluation_data",),
    "max_accuracy_drop": ("evaluation_data",),
}


@dataclasses.dataclass(frozen=True)
class Request:
    """The arguments of `tfconv_export.export`, which says what they are."""

    model: Any
    output: Path
    quantize: str
    io_dtype: str | None
    float_layers: Sequence[str]
    auto_float_layers: bool
    min_sqnr_db: float | None
    equalize: bool
    representative_data: Data | None
    data_function: str | Callable | None
    representative_key: str | None
    feature_spec: Path | None
    num_calibration_examples: int
    seed: int
    mean: float | Sequence[float] | None
    stddev: float | Sequence[float] | None
    evaluation_data: Data | None
    num_evaluation_examples: int
    max_accuracy_drop: float | None
    input_shape: Shapes
    signature: str | None
    custom_module: Path | None
    unsafe_deserialization: bool
    target: str
    require_npu: bool
    labels: Path | Sequence[str] | None
    model_version: str
    overwrite: bool
    report: Path | None
    report_dir: Path | None
    golden_dir: Path | None
    c_array: Path | None
    progress: Progress


def check(recipe: Recipe, target: str, given: dict[str, Any]) -> None:
    """Makes sure, before any work is done, that the request can be met.

    Args:
        recipe: what is to be made.
        target: string, as `--target` names it.
        given: the arguments that are not their defaults, by name.

    Raises:
        UsageError: if not, or if an argument would do nothing.
    """
    targets.check_request(target, recipe.quantize)
    for name in ("min_sqnr_db", "max_accuracy_drop"):
        value = given.get(name, 0.0)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UsageError(f"--{name}={value} must be a finite number.")
    if given.get("max_accuracy_drop", 0.0) < 0.0:
        raise UsageError(
            f"--max_accuracy_drop={given['max_accuracy_drop']} must not be "
            "negative: it is how many points the file may lose; write 0 to "
            "allow none."
        )
    try:
        str(given.get("model_version", "")).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "--model_version must be text in UTF-8, for the metadata."
        ) from error
    if set(_DATA) <= set(given):
        raise UsageError(
            "--data_function and --representative_data are two ways to say "
            "the same; give one of them."
        )
    for name, others in _NEEDS.items():
        if name in given and not set(others) & set(given):
            listed = " or ".join(f"--{other}" for other in others)
            raise UsageError(
                f"--{name} does nothing without {listed}; give that, too, or "
                "leave it out."
            )
    if "require_npu" in given and not targets.TARGETS[target].compiles:
        raise UsageError(
            "--require_npu does nothing without an NPU; give a --target such "
            "as ethos-u55-128."
        )
    if recipe.is_integer and not set(_DATA) & set(given):
        raise UsageError(
            f"--quantize={recipe.quantize} needs --representative_data: "
            "examples from which to take the ranges of the activations."
        )
    if "auto_float_layers" in given and not recipe.is_integer:
        raise UsageError(
            "--auto_float_layers is not possible with --quantize="
            f"{recipe.quantize}; it must be int8 or int16x8."
        )
    if "auto_float_layers" in given and "min_sqnr_db" not in given:
        raise UsageError(
            "--auto_float_layers needs --min_sqnr_db: the signal-to-noise "
            "ratio to be reached, in decibels."
        )
    if "min_sqnr_db" in given and recipe.quantize == "none":
        raise UsageError(
            "--min_sqnr_db is not possible with --quantize=none, whose error "
            "is held to float32's rounding; leave it out."
        )
