"""How often the model, and the file on each runtime, is right."""

from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np

from tfconv_export.comparison import model_outputs
from tfconv_export.errors import UsageError
from tfconv_export.progress import Progress
from tfconv_export.progress import silent
from tfconv_export.result import Accuracy
from tfconv_export.result import Check
from tfconv_export.result import Endpoint
from tfconv_export.runtimes import Runtime
from tfconv_export.source import Source

_MODEL = "model"


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
    source: Source,
    labelled: Iterable[tuple[dict[str, np.ndarray], int]],
    output: Endpoint,
    *,
    is_probability: bool,
    progress: Progress = silent,
) -> tuple[Accuracy, ...]:
    """Counts how often the largest value of the output is the label's.

    An output of one value is that of the second of two classes: it says so
    from 0.5 on where it is a probability, else from 0 on.

    Args:
        runtimes: the file, on each interpreter.
        source: the trained model.
        labelled: examples, as batches of one by input, with their labels.
        output: which output has the classes.
        is_probability: whether a sigmoid makes it.
        progress: called with what was done.

    Returns:
        The model's accuracy first, then the file's on each runtime.

    Raises:
        UsageError: if a label is no class of the output.
    """
    threshold = 0.5 if is_probability else 0.0
    size = output.shape[-1]
    classes = max(size, 2)

    def predicted(outputs: dict[str, np.ndarray]) -> int:
        values = np.asarray(outputs[output.name])[0]
        return (
            int(values[0] >= threshold) if size == 1 else int(values.argmax())
        )

    predictors = {_MODEL: model_outputs(source)}
    predictors |= {runtime.name: runtime.run for runtime in runtimes}
    correct = dict.fromkeys(predictors, 0)
    count = 0
    for example, label in labelled:
        if not 0 <= label < classes:
            raise UsageError(
                f"--evaluation_data has the label {label} in example {count}, "
                f"but the output {output.name} has {classes} classes: labels "
                f"must be 0 to {classes - 1}."
            )
        count += 1
        for name, run in predictors.items():
            correct[name] += predicted(run(example)) == label
        progress("evaluating", count, None)
    return tuple(
        Accuracy(name, output.name, right, count)
        for name, right in correct.items()
    )


def judge(accuracies: Sequence[Accuracy], max_drop: float) -> list[Check]:
    """Judges how much less often the file is right than the model.

    Args:
        accuracies: as from `evaluate`.
        max_drop: float, percentage points that the file may lose. One example
            is always allowed: in a small set, it may be many points.
    """
    checks = []
    for accuracy in accuracies[1:]:
        model, count = accuracies[0], accuracy.examples
        lost = model.correct - accuracy.correct
        passed = lost <= max(1.0, max_drop / 100 * count)
        detail = (
            f"{accuracy.correct / count:.2%} of {count} examples, the model "
            f"{model.correct / count:.2%}"
        )
        if not passed:
            detail += (
                f"; at most {max_drop:g} points may be lost: is the "
                "representative data preprocessed as the evaluation data?"
            )
        checks.append(Check(f"accuracy on {accuracy.runtime}", passed, detail))
    return checks
