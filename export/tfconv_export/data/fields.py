"""Which array of the data is which input of the model, and which the label."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable

from tfconv_export.errors import UsageError
from tfconv_export.source import Input
from tfconv_export.source import tensor_name

# What labels are called, where nobody says it.
LABELS = ("label", "labels", "y")

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Fields:
    """What to take from an example.

    Attributes:
        inputs: dict from an input's name to that of its array.
        label: string, the name of the labels' array, or `None`.
    """

    inputs: dict[str, str]
    label: str | None


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What the user says about the names in the data.

    Attributes:
        argument: string, the flag that gives the data.
        key: string, the array that is the model's one input, or `None`.
        labelled: bool, whether every example needs a label.
        label_key: string, the array of the labels; `None` for one of `LABELS`.
    """

    argument: str
    key: str | None = None
    labelled: bool = False
    label_key: str | None = None

    @property
    def key_flag(self) -> str:
        """The flag that chooses an array."""
        return f"--{self.argument.removesuffix('_data')}_key"


def match(
    found: dict[str, Shape],
    inputs: tuple[Input, ...],
    wanted: Wanted,
    examples_of: Callable[[Shape], Iterable[Shape]],
    origin: str,
) -> Fields:
    """Chooses the arrays.

    Args:
        found: the shapes of the arrays that there are, by name; `""` is that
            of the only one, which has no name.
        inputs: of the model.
        wanted: what the user said.
        examples_of: from an array's shape to what its examples' may be.
        origin: string, how messages name the data.

    Raises:
        UsageError: if one is missing, or several could be meant.
    """
    label = _label(found, inputs, wanted, origin) if wanted.labelled else None
    others = [name for name in found if name != label]
    if len(inputs) > 1:
        return Fields(_by_name(others, inputs, wanted, origin), label)
    (item,) = inputs
    fitting = [
        name
        for name in others
        if any(_fits(shape, item.shape) for shape in examples_of(found[name]))
    ]
    if wanted.key is not None and others != [""]:
        if wanted.key not in others:
            raise UsageError(
                f"{origin} holds no array named {wanted.key}; it holds: "
                f"{_listed(others)}."
            )
        chosen = wanted.key
    elif len(others) == 1:
        (chosen,) = others
    elif item.name in others:
        chosen = item.name
    elif len(fitting) == 1:
        (chosen,) = fitting
    else:
        raise UsageError(
            f"{origin} holds {len(others)} arrays ({_listed(others)}); choose "
            f"one with {wanted.key_flag}."
        )
    return Fields({item.name: chosen}, label)


def _label(found, inputs, wanted: Wanted, origin: str) -> str:
    names = {item.name for item in inputs}
    known = [wanted.label_key] if wanted.label_key else LABELS
    for name in known:
        if name in found and name not in names:
            return name
    raise UsageError(
        f"{origin} holds no labels: with every example, an integer named "
        f"{' or '.join(known)} is needed, as an array of a .npz file, a "
        "feature of TFRecords, or the second of the pair (x, y) that a "
        f"function yields; it holds: {_listed(found)}."
    )


def _by_name(others, inputs, wanted: Wanted, origin: str) -> dict[str, str]:
    needed = ", ".join(item.name for item in inputs)
    if wanted.key is not None:
        raise UsageError(
            f"{wanted.key_flag}={wanted.key} is for a model of one input; "
            f"this one takes arrays named after its inputs: {needed}."
        )
    # A layer's name may hold what TensorFlow does not allow in an input's.
    known = {tensor_name(name): name for name in others}
    known |= {name: name for name in others}
    missing = [item.name for item in inputs if item.name not in known]
    if missing:
        raise UsageError(
            f"{origin} holds no array named {missing[0]}; the model takes "
            f"arrays named after its inputs ({needed}), and it holds: "
            f"{_listed(others)}."
        )
    return {item.name: known[item.name] for item in inputs}


def _fits(shape: Shape, known: tuple[int | None, ...]) -> bool:
    return len(shape) == len(known) and all(
        dim in (None, size) for dim, size in zip(known, shape, strict=True)
    )


def _listed(names: Iterable[str]) -> str:
    names = [name or "one array without a name" for name in names]
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return shown or "none"
