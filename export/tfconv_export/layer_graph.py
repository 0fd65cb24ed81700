"""The calls of a Keras model's layers, those of nested models among them."""

import dataclasses
import itertools
from collections.abc import Iterator

import keras

from tfconv.streaming.graph import as_functional
from tfconv.streaming.graph import nodes


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """One call of a layer.

    Attributes:
        layer: the layer, or one of `keras.ops`'s operations.
        path: string, its name after those of the models it is in.
        inputs: ints, the tensors that it takes.
        outputs: ints, those that it makes.
        input_shapes: tuples with the batch; `None` where open.
        output_shapes: likewise.
        is_plain: bool, whether it is called on tensors only: without a mask,
            and not in training mode.
    """

    layer: keras.Operation
    path: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shapes: tuple[tuple[int | None, ...], ...]
    output_shapes: tuple[tuple[int | None, ...], ...]
    is_plain: bool


class LayerGraph:
    """Which call reads what another makes.

    Attributes:
        calls: list of `LayerCall`, in an order in which they can run.
        counts: dict from the `id` of a layer to how often it is called.
        producers: dict from a tensor to the call that makes it.
        readers: dict from a tensor to how many read it, of which the model
            itself is one if the tensor is one of its outputs.
        outputs: tuple of ints, the model's outputs.
        tensors: dict from a tensor's number to the `KerasTensor` of the model
            in which it was made.
    """

    def __init__(self, model: keras.Model, nested: bool = True):
        """Walks over a model.

        Args:
            model: a functional or Sequential model. Of one whose class
                overrides `call` nothing is known: it has no calls.
            nested: bool, whether to walk over the models in it, too; if not,
                they are layers.
        """
        self.calls, self.tensors = [], {}
        self._nested = nested
        self._numbers = itertools.count()
        functional = as_functional(model, nested=True)
        self.outputs = ()
        if functional is not None:
            inputs = [next(self._numbers) for _ in functional.inputs]
            self.outputs = tuple(self._walk(functional, inputs, "", True))
        self.counts, self.producers, self.readers = {}, {}, {}
        for call in self.calls:
            key = id(call.layer)
            self.counts[key] = self.counts.get(key, 0) + 1
            self.producers |= dict.fromkeys(call.outputs, call)
        for tensor in itertools.chain(
            self.outputs, *(call.inputs for call in self.calls)
        ):
            self.readers[tensor] = self.readers.get(tensor, 0) + 1

    def before(self, call: LayerCall) -> Iterator[LayerCall]:
        """The calls before one, as far back as nothing else reads of them."""
        while len(call.inputs) == 1:
            (tensor,) = call.inputs
            if self.readers[tensor] > 1 or tensor not in self.producers:
                return
            call = self.producers[tensor]
            yield call

    def _walk(
        self, functional, inputs: list[int], prefix: str, is_plain: bool
    ) -> list[int]:
        """Adds the calls of a model; returns its outputs."""
        numbers = {
            id(tensor): number
            for tensor, number in zip(functional.inputs, inputs, strict=True)
        }
        self._note(functional.inputs, inputs)
        for node in nodes(functional):
            taken = [numbers[id(tensor)] for tensor in node.input_tensors]
            path = f"{prefix}{node.operation.name}"
            plain = is_plain and _is_plain(node)
            nested = None
            if self._nested:
                nested = as_functional(node.operation, nested=True)
            if nested is None:
                made = [next(self._numbers) for _ in node.outputs]
                self._note(node.outputs, made)
                self.calls.append(
                    LayerCall(
                        layer=node.operation,
                        path=path,
                        inputs=tuple(taken),
                        outputs=tuple(made),
                        input_shapes=_shapes(node.input_tensors),
                        output_shapes=_shapes(node.outputs),
                        is_plain=plain,
                    )
                )
            else:
                made = self._walk(nested, taken, f"{path}/", plain)
            numbers |= {
                id(tensor): number
                for tensor, number in zip(node.outputs, made, strict=True)
            }
        return [numbers[id(tensor)] for tensor in functional.outputs]

    def _note(self, tensors, numbers: list[int]) -> None:
        self.tensors |= dict(zip(numbers, tensors, strict=True))


def _shapes(tensors) -> tuple[tuple[int | None, ...], ...]:
    return tuple(tuple(tensor.shape) for tensor in tensors)


def _is_plain(node) -> bool:
    return not any(
        name == "mask" or not isinstance(value, keras.KerasTensor)
        for name, value in node.arguments.kwargs.items()
        if value is not None and value is not False
    )
