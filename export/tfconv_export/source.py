"""A trained model, from wherever it lies, as a function of tensors."""

import dataclasses
import math
import operator
import re
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tfconv_export import memory
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason

# Both are from tensors, by the inputs' names, to tensors by the outputs'.
Function = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of a model.

    Attributes:
        name: string, a name that TensorFlow accepts.
        shape: tuple, without the batch; `None` where it is open.
        dtype: `tf.DType`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: tf.DType


@dataclasses.dataclass(frozen=True)
class Source:
    """A model to be exported.

    Attributes:
        origin: string, the path, or the name of an in-memory model.
        kind: string, `"keras"`, `"keras2"` for what tf-keras alone can load,
            or `"saved_model"`; only of the first the layers are known.
        size: int, bytes on disk; `None` in memory.
        inputs: tuple, in the model's order.
        reference: from tensors of shape `(b, *shape)`, by input, to those of
            the outputs: the model as it was trained, in inference mode.
        exported: the same function, from tfconv's layers where it can be.
        trackable: the object that holds the variables of `exported`.
        folded: strings, what became of batch normalizations in `exported`.
    """

    origin: str
    kind: str
    size: int | None
    inputs: tuple[Input, ...]
    reference: Function
    exported: Function
    trackable: Any
    folded: tuple[str, ...] = ()

    @property
    def without_layers(self) -> str:
        """Name for the model if its graph alone is known; else `""`."""
        return {
            "saved_model": "SavedModel",
            "keras2": "model of Keras 2 that Keras 3 cannot take",
        }.get(self.kind, "")


# Of the one input, or by the names of several; without the batch.
Shapes = dict[str, tuple[int, ...]] | tuple[int, ...] | None


def fix_shapes(source: Source, shapes: Shapes) -> Source:
    """The source with no open dimension left.

    Args:
        source: one with `None` in its inputs' shapes, or none.
        shapes: the wanted input shape, without the batch; a dict by name, of
            which some may be missing, where there are several inputs.

    Raises:
        UsageError: if a dimension stays open, or the model takes another.
    """
    if shapes is None:
        shapes = {}
    elif not isinstance(shapes, dict):
        if len(source.inputs) != 1:
            raise UsageError(
                f"--input_shape={_comma(shapes)} does not say which input it "
                "is of; the model has several: "
                f"{', '.join(i.name for i in source.inputs)}; write "
                f"--input_shape={source.inputs[0].name}:{_comma(shapes)}."
            )
        shapes = {source.inputs[0].name: shapes}
    known = {item.name: item for item in source.inputs}
    for name in shapes:
        if name not in known:
            raise UsageError(
                f"--input_shape={name}:{_comma(shapes[name])} names no input "
                f"of the model; those are: {', '.join(known)}."
            )
    inputs = tuple(
        _fixed(item, shapes.get(item.name), len(known) > 1)
        for item in source.inputs
    )
    specs = {
        item.name: tf.TensorSpec((1, *item.shape), item.dtype)
        for item in inputs
    }
    listed = ", ".join(f"({_comma(item.shape)})" for item in inputs)
    what = f"To run the model on inputs of shape {listed}"
    # Before TensorFlow sees them: it computes with 64 bits.
    memory.check(_COPIES * sum(map(_bytes, specs.values())), what)
    try:
        traced = tf.function(
            source.reference, autograph=False
        ).get_concrete_function(specs)
    except Exception as error:
        raise UsageError(
            f"The model cannot take inputs of shape {listed}: {reason(error)}."
        ) from error
    largest = max(
        (
            sum(map(_bytes, operation.outputs))
            for operation in traced.graph.get_operations()
        ),
        default=0,
    )
    memory.check(_COPIES * largest, what)
    return dataclasses.replace(source, inputs=inputs)


def _bytes(tensor: tf.Tensor | tf.TensorSpec) -> int:
    """Bytes that a tensor takes; 0 if its shape is not known."""
    if not tensor.shape.is_fully_defined():
        return 0
    return math.prod(tensor.shape) * tensor.dtype.size


# The model's own and the file's, at the least.
_COPIES = 2
_MOST_OF_A_DIMENSION = 2**31 - 1  # TFLite's shapes are of 32 bits.


def _fixed(item: Input, shape, is_named: bool) -> Input:
    prefix = f"{item.name}:" if is_named else ""
    known = item.shape
    wanted = known if shape is None else tuple(map(operator.index, shape))
    fits = len(wanted) == len(known) and all(
        dim in (None, want) for dim, want in zip(known, wanted, strict=True)
    )
    if not fits:
        raise UsageError(
            f"--input_shape={prefix}{_comma(wanted)} does not fit the model, "
            f"whose input shape without the batch is ({_comma(known)})."
        )
    if None in wanted:
        example = _comma(98 if dim is None else dim for dim in known)
        raise UsageError(
            f"The model leaves its input shape open: {prefix}"
            f"({_comma(known)}) without the batch; fix it with --input_shape, "
            f"for example --input_shape={prefix}{example}."
        )
    if not all(
        isinstance(dim, int) and 0 < dim <= _MOST_OF_A_DIMENSION
        for dim in wanted
    ):
        raise UsageError(
            f"--input_shape={prefix}{_comma(wanted)} must hold sizes greater "
            f"than 0, and of at most {_MOST_OF_A_DIMENSION:,}."
        )
    return dataclasses.replace(item, shape=wanted)


def _comma(dims) -> str:
    return ",".join("?" if dim is None else str(dim) for dim in dims)


def tensor_name(name: str) -> str:
    """The name, without what TensorFlow does not allow in one."""
    name = re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip("_.") or "tensor"
    # LiteRT takes the inputs as the arguments of a method.
    return "self_" if name == "self" else name


def unique(names: Iterable[str]) -> list[str]:
    """Names that TensorFlow allows, with a number where one comes again."""
    found = []
    for index, name in enumerate(map(tensor_name, names)):
        while name in found:
            name = f"{name}_{index}"
        found.append(name)
    return found
