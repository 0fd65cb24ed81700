"""Labels, and what an output says of them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfconv_export.errors import UsageError

Label = int | np.ndarray


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of the evaluation data.

    Attributes:
        truth: ints `(n,)`, the class of each example, or bools `(n, labels)`
            where several labels may be true of one.
    """

    truth: np.ndarray

    @property
    def are_several(self) -> bool:
        """True if several labels may be true of one example."""
        return self.truth.ndim == 2

    def right(self, values: np.ndarray, threshold: float) -> np.ndarray:
        """Which decisions are right, bools of the shape of `truth`.

        Args:
            values: `(n, size)`, what an output is for each example.
            threshold: float, above which one of them alone says yes.
        """
        if self.are_several:
            said = values > threshold
        elif values.shape[1] == 1:
            said = (values[:, 0] > threshold).astype(int)
        else:
            said = values.argmax(axis=1)
        return said == self.truth

    def always_the_same(self) -> float:
        """How often is right who says the most frequent answer always."""
        if self.are_several:
            share = self.truth.mean(axis=0)
            return float(np.maximum(share, 1 - share).mean())
        return float(np.bincount(self.truth).max() / len(self.truth))

    def is_better_than_chance(self, right: np.ndarray, classes: int) -> bool:
        """Tells whether every answer is found more often than by guessing.

        That is the mean over the answers there are, however rare one is: a
        model that always says the same has one of them, and none of the rest.

        Args:
            right: as from `right`.
            classes: int, how many there are, also without examples.
        """
        answers = self.truth
        present = len(np.unique(answers))
        chance = 1 / (present if present > 1 else classes)
        if self.are_several:
            answers = answers + 2 * np.arange(answers.shape[1])
        _, places, counts = np.unique(
            answers.reshape(-1), return_inverse=True, return_counts=True
        )
        found = np.bincount(places, weights=right.reshape(-1)) / counts
        spread = np.sqrt((chance * (1 - chance) / counts).sum()) / len(counts)
        return bool(found.mean() > chance + 2 * spread)


def check(label: Label, index: int, output: str, size: int) -> None:
    """Makes sure that a label can be one of an output.

    Args:
        label: an int, or a row of several numbers.
        index: int, the example's, for messages.
        output: string, its name, for messages.
        size: int, how many values it has: of one, the classes are two.

    Raises:
        UsageError: if not.
    """
    classes = max(size, 2)
    if isinstance(label, np.ndarray):
        if len(label) != classes:
            raise UsageError(
                f"--evaluation_data has a row of {len(label)} numbers as the "
                f"label of example {index}, but the output {output} has "
                f"{classes} classes; give a number for each, or an integer."
            )
    elif not 0 <= label < classes:
        raise UsageError(
            f"--evaluation_data has the label {label} in example {index}, "
            f"but the output {output} has {classes} classes: labels "
            f"must be 0 to {classes - 1}."
        )


def read(labels: Sequence[Label], output: str, *, one_of_them: bool) -> Labels:
    """Summary of what labels say together.

    Rows of zeros and ones of which some have not exactly one 1 say of each
    label whether it is true; of other rows, the largest number is the class.

    Args:
        labels: that `check` let pass.
        output: string, its name, for messages.
        one_of_them: bool, whether the output says that exactly one class is
            true, as a softmax and an output of one value do.

    Raises:
        UsageError: if several labels are true, and the output says one.
    """
    rows = [label for label in labels if isinstance(label, np.ndarray)]
    if len(rows) not in (0, len(labels)):
        raise UsageError(
            f"--evaluation_data has {len(rows)} rows and "
            f"{len(labels) - len(rows)} integers as labels; give one or the "
            "other."
        )
    if not rows:
        return Labels(np.array(labels, int))
    table = np.array(rows, np.float64)
    ones = (table == 1).sum(axis=1)
    if not np.isin(table, (0, 1)).all() or (ones == 1).all():
        return Labels(table.argmax(axis=1))
    if one_of_them:
        index = int(np.flatnonzero(ones != 1)[0])
        raise UsageError(
            f"--evaluation_data has a row with {ones[index]} ones as the label "
            f"of example {index}, but the output {output} says that exactly "
            "one class is true; give that class as an integer."
        )
    return Labels(table == 1)
