"""A float TFLite file as what it computes, whatever frames it computes of.

The streaming file of a model and the file for whole windows compute the same
values, of different frames. Each tensor gets a number here that two files of
the same model share: it depends on the inputs, the weights and the operators on
the way, and not on how often frames were held, cut off or put in another shape.
"""

import hashlib

from ai_edge_litert import schema_py_generated as schema

from tfconv_export.errors import CheckError
from tfconv_export.quantization import flatbuffer_edit

_NAMES = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if isinstance(code, int)
}
# They move values, and leave them as they are.
_MOVING = (
    "EXPAND_DIMS",
    "PAD",
    "RESHAPE",
    "SLICE",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TRANSPOSE",
)
# Options that say where values lie, or how many there are.
_OF_SHAPE = ("padding", "keepNumDims")


class ComputedGraph:
    """The main subgraph of a float file.

    Args:
        content: bytes of the file. It has one signature.
        numbers: dict from what a tensor is computed of to its number, to be
            shared by the graphs that are compared.
        states: names of the inputs that hold earlier frames of another tensor.

    Attributes:
        model: `ModelT` of the flatbuffer.
        operators: its operators.
        computing: those that compute, from the index of the operator to what
            it computes, a number.
        tensors: the number of each tensor that depends on an input, by index.
        inputs: indices of the inputs, by their names.
        outputs: likewise.

    Raises:
        CheckError: if a state is not put before the frames of another tensor.
    """

    def __init__(
        self, content: bytes, numbers: dict, states: tuple[str, ...] = ()
    ):
        self.model = flatbuffer_edit.read(content)
        self._main = self.model.subgraphs[0]
        self._numbers = numbers
        self.operators = self._main.operators
        self.inputs, self.outputs = named_ends(self.model)
        self.tensors = {}
        self.computing = {}
        for name, index in self.inputs.items():
            if name not in states:
                self.tensors[index] = self._number("input", name)
        # Frames of a tensor that is not known yet, and where they come from.
        self._held = {
            self.inputs[name]: None for name in states if name in self.inputs
        }
        for place, operator in enumerate(self.operators):
            self._follow(place, operator)
        for name in states:
            if self.inputs.get(name) not in self.tensors:
                raise CheckError(
                    f"The converter left no operator that reads {name}, so "
                    "that its scale is not known; choose another hop."
                )

    def name(self, operator) -> str:
        """The name of an operator, such as `"CONV_2D"`."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def is_constant(self, index: int) -> bool:
        """Whether the values of a tensor are in the file."""
        return index >= 0 and is_constant(self.model, index)

    def _follow(self, place: int, operator) -> None:
        first, output = operator.inputs[0], operator.outputs[0]
        name = self.name(operator)
        if name in _MOVING and first in self._held:
            self._held[output] = first
        elif name in _MOVING and first in self.tensors:
            self.tensors[output] = self.tensors[first]
        elif any(index in self._held for index in operator.inputs):
            self._join(operator)
        elif any(index in self.tensors for index in operator.inputs):
            computed = self._computed(operator)
            self.computing[place] = computed
            for position, index in enumerate(operator.outputs):
                self.tensors[index] = self._number(computed, position)

    def _join(self, operator) -> None:
        """What is put together with earlier frames are frames of the same."""
        known = {
            self.tensors[index]
            for index in operator.inputs
            if index in self.tensors
        }
        if self.name(operator) != "CONCATENATION" or len(known) != 1:
            raise CheckError(
                f"A {self.name(operator)} reads a state in an unexpected way; "
                "choose another hop."
            )
        (number,) = known
        self.tensors[operator.outputs[0]] = number
        for index in operator.inputs:
            while index in self._held:
                self.tensors[index] = number
                index = self._held.pop(index)

    def _computed(self, operator) -> int:
        options = operator.builtinOptions
        options = {} if options is None else vars(options)
        return self._number(
            self.name(operator),
            *(
                (name, str(value))
                for name, value in options.items()
                if name not in _OF_SHAPE
            ),
            *(self._operand(index) for index in operator.inputs),
        )

    def _operand(self, index: int):
        if index in self.tensors:
            return self.tensors[index]
        if not self.is_constant(index):
            return None
        tensor = self._main.tensors[index]
        values = bytes(self.model.buffers[tensor.buffer].data)
        return tensor.type, hashlib.sha256(values).hexdigest()

    def _number(self, *parts) -> int:
        return self._numbers.setdefault(parts, len(self._numbers))


def is_constant(model, index: int) -> bool:
    """Whether the values of a tensor of the main subgraph are in the file."""
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return data is not None and len(data) > 0


def named_ends(model) -> tuple[dict[str, int], dict[str, int]]:
    """Tensor indices of the one signature's inputs and outputs, by name."""
    (signature,) = model.signatureDefs
    return tuple(
        {entry.name.decode(): entry.tensorIndex for entry in entries}
        for entries in (signature.inputs, signature.outputs)
    )
