"""How often the model, and the file on each runtime, is right."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tfconv_export import comparison
from tfconv_export import labels as labels_
from tfconv_export.calibration import Examples
from tfconv_export.calibration import spread
from tfconv_export.errors import UsageError
from tfconv_export.output_bounds import is_probability
from tfconv_export.probabilities import sums_to_one
from tfconv_export.progress import Progress
from tfconv_export.progress import silent
from tfconv_export.reference import Reference
from tfconv_export.result import Accuracy
from tfconv_export.result import Agreement
from tfconv_export.result import Check
from tfconv_export.result import Endpoint
from tfconv_export.runtimes import Runtime

_MODEL = "model"

# Percentage points: more is too much whatever the reason; more than the second
# is too much if it is not by chance, which two standard errors tell.
_MAX_DROP = 5.0
_MAX_DROP_BEYOND_CHANCE = 2.0


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Findings on the evaluation data.

    Attributes:
        accuracies: the model's first, then the file's on each runtime.
        agreements: how close the file comes on them, on at most 200.
        warnings: sentences on what the model itself has wrong.
    """

    accuracies: tuple[Accuracy, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    warnings: tuple[str, ...] = ()


def classes_output(outputs: Sequence[Endpoint]) -> Endpoint:
    """The output whose last axis is the classes: the first of shape `(1, n)`.

    Raises:
        UsageError: if there is none.
    """
    for output in outputs:
        if len(output.shape) == 2:
            return output
    shapes = ", ".join(f"{x.name} {list(x.shape)}" for x in outputs)
    raise UsageError(
        "--evaluation_data and --labels are for a classifier, with an output "
        f"of shape [1, classes]; the model's are: {shapes}."
    )


def evaluate(
    runtimes: Sequence[Runtime],
    reference: Reference,
    evaluation: Examples,
    output: Endpoint,
    quantize: str,
    progress: Progress = silent,
) -> Evaluation:
    """Counts how often an output says what the label is.

    The trained model says what the output is, whatever the file ends with. Its
    largest value is the class. An output of one value is that of the second of
    two classes; it says so above 0.5 if it is a probability, else above 0: a
    probability never leaves 0 to 1, by the model's graph or, where that does
    not tell, on these examples. Where several labels may be true, each of them
    counts.

    Args:
        runtimes: the file, on each interpreter.
        reference: the trained model.
        evaluation: examples with labels.
        output: which output has the classes.
        quantize: string, the mode of the file.
        progress: called with what was done.

    Raises:
        UsageError: if a label is none of the output.
    """
    size = output.shape[-1]
    predictors = {_MODEL: reference}
    predictors |= {runtime.name: runtime.run for runtime in runtimes}
    values = {name: [] for name in predictors}
    compared = {name: [] for name in predictors}
    few = set(spread(len(evaluation), comparison.MAX_EXAMPLES).tolist())
    given = []
    for index, (example, label) in enumerate(evaluation.labelled()):
        labels_.check(label, index, output.name, size)
        given.append(label)
        for name, run in predictors.items():
            outputs = run(example)
            values[name].append(np.asarray(outputs[output.name])[0])
            if index in few:
                compared[name].append(outputs)
        progress("evaluating", index + 1, None)
    tables = {name: np.stack(rows) for name, rows in values.items()}
    trained = tables[_MODEL]
    labels = labels_.read(
        given,
        output.name,
        one_of_them=size == 1 or sums_to_one(trained),
    )
    observed = float(trained.min()), float(trained.max())
    is_share = any(
        map(is_probability, (observed, reference.bounds[output.name]))
    )
    right = {
        name: labels.right(table, 0.5 if is_share else 0.0)
        for name, table in tables.items()
    }
    return Evaluation(
        accuracies=tuple(
            _accuracy(name, output.name, found, right[_MODEL])
            for name, found in right.items()
        ),
        agreements=tuple(
            agreement
            for runtime in runtimes
            for agreement in comparison.measure(
                runtime,
                reference,
                compared[_MODEL],
                compared[runtime.name],
                quantize,
                "evaluation",
            )
        ),
        warnings=_warn_of_the_model(labels, right[_MODEL], max(size, 2)),
    )


def _accuracy(
    runtime: str, output: str, right: np.ndarray, model: np.ndarray
) -> Accuracy:
    return Accuracy(
        runtime=runtime,
        output=output,
        correct=int(right.sum()),
        examples=right.size,
        lost=int((model & ~right).sum()),
        gained=int((right & ~model).sum()),
    )


def _warn_of_the_model(
    labels: labels_.Labels, right: np.ndarray, classes: int
) -> tuple[str, ...]:
    found, guessed = right.mean(), labels.always_the_same()
    if right.all() or found > guessed:
        return ()
    if labels.is_better_than_chance(right, classes):
        return ()
    return (
        f"the trained model is right on {found:.1%} of the evaluation data, "
        f"where always saying the most frequent answer is on {guessed:.1%}: is "
        "the data scaled as in training, and are the labels in the same order?",
    )


def judge(
    accuracies: Sequence[Accuracy], max_drop: float | None = None
) -> list[Check]:
    """Judges how much less often the file is right than the model.

    Args:
        accuracies: as from `evaluate`.
        max_drop: float, percentage points that the file may lose; `None` for
            5, and 2 where chance does not explain them: of the examples on
            which one is right and one is wrong, that is. One example is always
            allowed: in a small set, it may be many points.
    """
    checks = []
    for accuracy in accuracies[1:]:
        model, count = accuracies[0], accuracy.examples
        lost = model.correct - accuracy.correct
        limit = _MAX_DROP if max_drop is None else max_drop
        passed = lost <= max(1.0, limit / 100 * count)
        needed = f"at most {limit:g} points may be lost"
        if passed and max_drop is None:
            limit = _MAX_DROP_BEYOND_CHANCE
            passed = lost <= max(limit / 100 * count, 2 * _deviation(accuracy))
            needed = (
                f"{accuracy.lost} lost and {accuracy.gained} gained are more "
                f"than chance, and at most {limit:g} points may be lost so"
            )
        detail = (
            f"{accuracy.correct / count:.2%} of {count} examples, the model "
            f"{model.correct / count:.2%}"
        )
        if not passed:
            detail += (
                f"; {needed}: is the representative data preprocessed as the "
                "evaluation data?"
            )
        checks.append(Check(f"accuracy on {accuracy.runtime}", passed, detail))
    return checks


def _deviation(accuracy: Accuracy) -> float:
    """The standard error of what is lost less what is gained, in examples."""
    lost, gained = accuracy.lost, accuracy.gained
    return math.sqrt(lost + gained - (lost - gained) ** 2 / accuracy.examples)
