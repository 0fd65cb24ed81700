"""Goes through examples, and finds what each of them is to the model."""

import abc
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

import numpy as np

from tfconv_export.data.fields import Fields
from tfconv_export.data.fields import Wanted
from tfconv_export.data.fields import match
from tfconv_export.data.numpy_files import Column
from tfconv_export.errors import UsageError
from tfconv_export.source import Input

# Of an example: its number, its arrays by input, its label or `None`.
Item = tuple[int, dict[str, np.ndarray], np.ndarray | None]


class Reader(abc.ABC):
    """Examples that have not been looked at.

    Attributes:
        origin: string, how messages and the report name them.
        wanted: what the user said about the names in them.
    """

    def __init__(self, origin: str, wanted: Wanted):
        self.origin = origin
        self.wanted = wanted

    @abc.abstractmethod
    def shapes(self, inputs: tuple[Input, ...]) -> dict[str, tuple[int, ...]]:
        """The first example's shape for each input, however open those are."""

    @abc.abstractmethod
    def count(self, inputs: tuple[Input, ...]) -> int | None:
        """How many examples there are; `None` if only reading them tells."""

    @abc.abstractmethod
    def read(
        self,
        inputs: tuple[Input, ...],
        indices: "np.ndarray | None" = None,
    ) -> Iterator[Item]:
        """The examples of these numbers, which are ascending; else all."""


class Arrays:
    """What a file of arrays is, in memory."""

    def __init__(self, arrays: dict[str, np.ndarray], origin: str):
        self.origin = origin
        self.columns = {
            name: Column(array.shape, array.dtype)
            for name, array in arrays.items()
        }
        self._arrays = arrays

    def open(self, names: list[str]) -> dict[str, np.ndarray]:
        return {name: self._arrays[name] for name in names}


class ArrayReader(Reader):
    """Reads arrays, any example at any time.

    Args:
        parts: files of arrays, one after the other.
        may_be_single: bool, whether a part may be one example without the
            axis that counts them.
    """

    def __init__(self, origin, wanted, parts, may_be_single: bool):
        super().__init__(origin, wanted)
        self._parts = parts
        self._may_be_single = may_be_single
        self._opened = None, None

    def shapes(self, inputs):
        part = self._parts[0]
        fields = self._fields(part, inputs)
        start = 0 if self._is_single(part, fields, inputs) else 1
        return {
            name: part.columns[field].shape[start:]
            for name, field in fields.inputs.items()
        }

    def count(self, inputs):
        return sum(self._count(part, inputs) for part in self._parts)

    def read(self, inputs, indices=None):
        if indices is None:
            indices = np.arange(self.count(inputs))
        end = 0
        for part in self._parts:
            start, end = end, end + self._count(part, inputs)
            inside = indices[
                np.searchsorted(indices, start) : np.searchsorted(indices, end)
            ]
            if len(inside):
                yield from self._read(part, inputs, inside, start)

    def _read(self, part, inputs, indices, start) -> Iterator[Item]:
        fields = self._fields(part, inputs)
        label = [] if fields.label is None else [fields.label]
        names = list(dict.fromkeys([*fields.inputs.values(), *label]))
        if self._opened[0] is not part:
            self._opened = part, part.open(names)
        arrays = self._opened[1]
        if self._is_single(part, fields, inputs):
            arrays = {name: array[np.newaxis] for name, array in arrays.items()}
        for index in indices:
            yield (
                int(index),
                {
                    name: arrays[field][index - start]
                    for name, field in fields.inputs.items()
                },
                arrays[fields.label][index - start] if label else None,
            )

    def _fields(self, part, inputs) -> Fields:
        return match(
            {name: column.shape for name, column in part.columns.items()},
            inputs,
            self.wanted,
            lambda shape: (
                (shape[1:], shape) if self._may_be_single else (shape[1:],)
            ),
            part.origin,
        )

    def _is_single(self, part, fields: Fields, inputs) -> bool:
        return self._may_be_single and all(
            len(part.columns[fields.inputs[item.name]].shape) == len(item.shape)
            for item in inputs
        )

    def _count(self, part, inputs) -> int:
        fields = self._fields(part, inputs)
        is_single = self._is_single(part, fields, inputs)
        columns = {
            item: part.columns[fields.inputs[item.name]] for item in inputs
        }
        for item, column in columns.items():
            check_numeric(column.dtype, part.origin)
            shape = column.shape if is_single else column.shape[1:]
            if not is_single and column.shape[:1] in ((), (0,)):
                if self._may_be_single and column.shape:
                    continue
                raise no_examples(part.origin, column.shape)
            if shape != item.shape:
                raise _wrong_array(part.origin, column.shape, item, inputs)
        if is_single:
            return 1
        lengths = {
            item.name: column.shape[0] for item, column in columns.items()
        }
        if fields.label is not None:
            shape = part.columns[fields.label].shape
            lengths["the labels"] = shape[0] if shape else 1
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{n} of {name}" for name, n in lengths.items())
            raise UsageError(
                f"{part.origin} holds different numbers of examples: {counts}; "
                "each array needs as many."
            )
        return next(iter(lengths.values()))


# Far more than any calibration takes, and read in minutes.
_MAX_STREAMED = 1_000_000


class StreamReader(Reader):
    """Reads what can only be gone through from its start.

    Args:
        restart: from nothing to the arrays of all examples, each a dict.
    """

    def __init__(
        self,
        origin: str,
        wanted: Wanted,
        restart: Callable[[], Iterable[dict[str, np.ndarray]]],
    ):
        super().__init__(origin, wanted)
        self._restart = restart
        self._total = None

    def shapes(self, inputs):
        for example in self._restart():
            fields = self._fields(example, inputs)
            return {
                name: example[field].shape
                for name, field in fields.inputs.items()
            }
        raise no_examples(self.origin)

    def count(self, inputs):
        return None

    def read(self, inputs, indices=None):
        names, fields, total = None, None, 0
        chosen = None if indices is None else set(map(int, indices))
        for index, example in enumerate(self._restart()):
            total = index + 1
            if total > _MAX_STREAMED:
                raise UsageError(
                    f"{self.origin} gives more than {_MAX_STREAMED:,} "
                    "examples: is it endless? Let it end: all of them are "
                    "gone through, to choose from."
                )
            if chosen is not None and index not in chosen:
                continue
            if names != set(example):
                names = set(example)
                fields = self._fields(example, inputs)
            arrays = {
                name: example[field] for name, field in fields.inputs.items()
            }
            for array in arrays.values():
                check_numeric(array.dtype, self.origin)
            for item in inputs:
                if arrays[item.name].shape != item.shape:
                    raise _wrong_example(
                        self.origin, index, arrays[item.name].shape, item
                    )
            label = None if fields.label is None else example[fields.label]
            yield index, arrays, label
        if self._total not in (None, total):
            raise UsageError(
                f"{self.origin} gave {self._total} examples the first time and "
                f"{total} the second; it must give the same ones every time: "
                "make it a function that starts anew."
            )
        self._total = total

    def _fields(self, example, inputs) -> Fields:
        return match(
            {name: array.shape for name, array in example.items()},
            inputs,
            self.wanted,
            lambda shape: (shape,),
            self.origin,
        )


def check_numeric(dtype: np.dtype, origin: str) -> None:
    """Makes sure that values are numbers.

    Raises:
        UsageError: if they are not.
    """
    if dtype.kind not in "fiub":
        raise UsageError(
            f"{origin} must hold floats or integers, but its dtype is {dtype}."
        )


def no_examples(origin: str, shape: tuple | None = None) -> UsageError:
    """What is said of data without examples."""
    if shape is None:
        return UsageError(f"{origin} holds no examples.")
    return UsageError(
        f"{origin} holds no examples: its shape is {shape}; the first axis "
        "counts the examples."
    )


def _wrong_array(origin, shape, item: Input, inputs) -> UsageError:
    named = f" for input {item.name}" if len(inputs) > 1 else ""
    hint = ""
    if shape == item.shape:
        hint = "; of a single example, give array[None]"
    needed = ", ".join(map(str, ("n", *item.shape)))
    return UsageError(
        f"{origin} holds an array of shape {shape}{named}, but the model "
        f"takes examples of shape {item.shape}: an array of shape "
        f"({needed}) is needed, the first axis counting the examples{hint}."
    )


def _wrong_example(origin, index, shape, item: Input) -> UsageError:
    hint = ""
    if shape[1:] == item.shape:
        hint = "; leave out the batch axis: each one is a single example"
    return UsageError(
        f"{origin} gives input {item.name} the shape {shape} in example "
        f"{index}, but the model takes {item.shape}{hint}."
    )
