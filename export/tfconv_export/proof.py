"""A converted file -> everything that is known of it, and the verdict."""

import collections
import contextlib
import dataclasses
import os
import re
from collections.abc import Sequence

from tfconv_export import agreement
from tfconv_export import bounded
from tfconv_export import comparison
from tfconv_export import evaluation as evaluations
from tfconv_export import flatbuffer
from tfconv_export import metadata
from tfconv_export import micro
from tfconv_export import targets
from tfconv_export import twins
from tfconv_export import verification
from tfconv_export.calibration import Examples
from tfconv_export.conversion import Conversion
from tfconv_export.conversion import Recipe
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.flatbuffer import Facts
from tfconv_export.progress import Progress
from tfconv_export.progress import silent
from tfconv_export.reference import Reference
from tfconv_export.result import Check
from tfconv_export.result import Endpoint
from tfconv_export.result import ExportResult
from tfconv_export.result import LayerError
from tfconv_export.runtimes import LiteRT
from tfconv_export.runtimes import Runtime
from tfconv_export.runtimes import wrong_in_reference
from tfconv_export.source import Source


def describe(
    converted: Conversion, description: metadata.Metadata
) -> Conversion:
    """The converted file with metadata in it.

    Args:
        converted: what the converter made.
        description: its name, version, labels and normalisation; the names of
            inputs and outputs are filled in here.

    Raises:
        UsageError: if there are labels, and not one for each class.
    """
    facts = flatbuffer.read(converted.content)
    labelled = ""
    if description.labels:
        output = evaluations.classes_output(
            [
                item
                for item in endpoints(facts, "outputs")
                if item.name not in description.states
            ]
        )
        classes = output.shape[-1]
        if len(description.labels) != classes:
            raise UsageError(
                f"--labels has {len(description.labels)} names, but the "
                f"output {output.name} has {classes} classes; give one name "
                "for each."
            )
        labelled = output.name
    description = dataclasses.replace(
        description,
        inputs=tuple(item.name for item in endpoints(facts, "inputs")),
        outputs=tuple(item.name for item in endpoints(facts, "outputs")),
        labelled=labelled,
    )
    return dataclasses.replace(
        converted, content=metadata.add(converted.content, description)
    )


def prove(
    source: Source,
    recipe: Recipe,
    converted: Conversion,
    examples: Examples,
    *,
    layers: Sequence[LayerError] = (),
    evaluation: Examples | None = None,
    target: str = "litert",
    require_npu: bool = False,
    min_sqnr_db: float | None = None,
    max_accuracy_drop: float | None = None,
    progress: Progress = silent,
) -> tuple[ExportResult, Facts]:
    """Looks at the file, runs it, and has the target's own tools judge it.

    Args:
        source: the trained model.
        recipe: what was asked for.
        converted: what the converter made of it.
        examples: what to compare the two on.
        layers: what is known of its layers; see `layer_errors.compare`.
        evaluation: examples with labels, or `None`.
        target: string, one of `targets.TARGETS`.
        require_npu: whether every operator must run on the NPU.
        min_sqnr_db: float, the least signal-to-noise ratio; `None` for the
            mode's own.
        max_accuracy_drop: float, percentage points that the file may lose;
            `None` for what `evaluation.judge` finds too many.
        progress: called with what was done.

    Returns:
        The result, without an output path, and the facts of the file.

    Raises:
        UsageError: if the evaluation data is not for this model.
    """
    content = converted.content
    facts = flatbuffer.read(content)
    inputs, outputs = (endpoints(facts, kind) for kind in ("inputs", "outputs"))
    checks = verification.inspect(facts, recipe, source, converted)
    runtimes, problems = _runtimes(content, facts, layers, target)
    checks += problems
    reference = Reference(source)
    compared, evaluated = comparison.Comparison(), evaluations.Evaluation()
    if runtimes:
        try:
            compared = comparison.compare(
                runtimes, reference, examples, progress, recipe.quantize
            )
        except (RuntimeError, ValueError) as error:
            checks.append(Check("runs", False, _first_line(error)))
    if evaluation is not None and compared.agreements:
        evaluated = evaluations.evaluate(
            runtimes,
            reference,
            evaluation,
            evaluations.classes_output(outputs),
            recipe.quantize,
            progress,
        )
    agreements = (*compared.agreements, *evaluated.agreements)
    checks += agreement.judge(agreements, recipe, min_sqnr_db, facts)
    checks += twins.judge(
        compared.computed,
        runtimes,
        comparison.slow_sample(examples),
        converted,
        recipe.quantize,
    )
    checks += evaluations.judge(evaluated.accuracies, max_accuracy_drop)
    progress(f"asking {target}", 0, None)
    target_report, target_checks = targets.judge(
        target, content, facts, require_npu, converted.scopes
    )
    result = ExportResult(
        model=source.origin,
        output="",
        quantize=recipe.quantize,
        io_dtype=recipe.io_dtype,
        inputs=inputs,
        outputs=outputs,
        model_size=source.size,
        size=facts.size,
        operators=facts.operator_counts,
        examples=agreements[0].examples if agreements else 0,
        examples_origin=examples.origin,
        agreements=agreements,
        checks=(*checks, *target_checks),
        data=examples.summaries
        + (evaluation.summaries if evaluation is not None else ()),
        accuracies=evaluated.accuracies,
        scatters=compared.scatters,
        float_layers=converted.float_layers,
        keeps_state=facts.keeps_state,
        target=target_report,
        warnings=compared.warnings + evaluated.warnings,
    )
    return result, facts


def endpoints(facts: Facts, kind: str) -> tuple[Endpoint, ...]:
    """The file's `"inputs"` or `"outputs"`, in its order, by their names."""
    tensors = getattr(facts, kind)
    names = {tensor: tensor.name for tensor in tensors}
    if facts.signatures:
        named = getattr(facts.signatures[0], kind)
        names |= {tensor: name for name, tensor in named.items()}
    return tuple(
        Endpoint(
            name=names[tensor],
            shape=tensor.shape,
            dtype=tensor.dtype,
            scale=tensor.scales[0] if tensor.scales else None,
            zero_point=tensor.zero_points[0] if tensor.zero_points else None,
        )
        for tensor in tensors
    )


def read_labels(labels: "os.PathLike | str | Sequence[str]") -> tuple[str, ...]:
    """Names of classes, or those in a text file, one a line.

    Raises:
        UsageError: if the file cannot be read, or a name is empty or twice
            there.
    """
    if isinstance(labels, (str, os.PathLike)):
        text = bounded.read_text(labels, f"--labels={labels}")
        labels = text.splitlines()
    names = tuple(name.strip() for name in labels)
    if not names or not all(names):
        raise UsageError(
            "--labels must name every class, one a line. Received: "
            f"{', '.join(map(repr, names[:20])) or 'nothing'}"
        )
    name, count = collections.Counter(names).most_common(1)[0]
    if count > 1:
        raise UsageError(f"--labels has {name!r} more than once.")
    return names


def _runtimes(
    content: bytes, facts: Facts, layers: Sequence[LayerError], target: str
) -> tuple[list[Runtime], list[Check]]:
    """The file on every interpreter, and a failed check for each that cannot.

    XNNPACK is what phones run, the reference kernels what TFLite Micro does.
    """
    runtimes: list[Runtime] = []
    problems = []
    for kernels in ("xnnpack", "builtin", "reference"):
        wrong = kernels == "reference" and wrong_in_reference(facts)
        if wrong:
            reason = f"{wrong}; not compared there"
            problems.append(Check(f"runs on LiteRT {kernels}", True, reason))
            continue
        try:
            runtimes.append(LiteRT(content, kernels))
        except (RuntimeError, ValueError) as error:
            missing = re.search(
                r"Didn't find op .* '(\w+)' version", str(error)
            )
            reason = _first_line(error)
            if missing:
                reason = f"LiteRT has no {kernels} kernel for this {missing[1]}"
            elif "XNNPACK" in reason:
                reason = _dead_layers(layers) or reason
            # Phones do not run them: they stand in for a microcontroller.
            passed = bool(missing) and kernels == "reference"
            if passed:
                reason += "; not compared there"
            problems.append(Check(f"runs on LiteRT {kernels}", passed, reason))
    if target == "micro":
        with contextlib.suppress(CheckError):  # which `targets.judge` tells
            runtimes.append(micro.TFLiteMicro(content))
    return runtimes, problems


def _dead_layers(layers: Sequence[LayerError]) -> str:
    """A sentence on a layer whose numbers XNNPACK cannot scale, or nothing."""
    for layer in layers:
        if layer.operator != "INPUT" and layer.minimum == layer.maximum == 0:
            return (
                f"XNNPACK does not take layer {layer.layer}, which computes 0 "
                "everywhere on the representative data: give data on which it "
                f"does not, pass --float_layers='{layer.layer}', or build the "
                "model without it"
            )
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
