"""A streaming file that holds its states itself.

Its states are TFLite's resource variables. A subgraph of its own gives them
their initial values: the file runs it before the first hop, and a program
runs it by the signature `reset` to begin a new stream.
"""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.runtimes import RESET
from tfconv_export.streaming_result import StreamingState

_OP = schema.BuiltinOperator
# Bytes of a state from which on its initial value is broadcast by an operator,
# whose kernel a microcontroller has to hold too, and is no constant.
_LARGE = 1024


def with_variables(content: bytes, states: tuple[StreamingState, ...]) -> bytes:
    """The file with its states inside.

    Everything else is as it was: the same operators on the same tensors, under
    the first signature's name.

    Args:
        content: bytes of a streaming file whose states are inputs and outputs,
            without metadata, which would name them.
        states: its states.
    """
    if not states:
        return content
    editor = _Editor(flatbuffer_edit.read(content))
    editor.hold(states)
    flatbuffer_edit.remove_unused(editor.model)
    return flatbuffer_edit.write(editor.model)


class _Editor:
    """Adds operators and tensors to a `ModelT`."""

    def __init__(self, model):
        self.model = model
        self._main = model.subgraphs[0]

    def hold(self, states: tuple[StreamingState, ...]) -> None:
        """Makes variables of inputs and outputs."""
        (signature,) = self.model.signatureDefs
        inputs = [_take(signature.inputs, state.name) for state in states]
        outputs = [
            _take(signature.outputs, state.output_name) for state in states
        ]
        for index in inputs:
            self._main.inputs = _without(self._main.inputs, index)
        for index in outputs:
            self._main.outputs = _without(self._main.outputs, index)
        reset = self._reset(states, inputs)
        self.model.subgraphs.append(reset)
        once = self._operator(_OP.CALL_ONCE, [], [])
        once.builtinOptionsType = schema.BuiltinOptions.CallOnceOptions
        once.builtinOptions = schema.CallOnceOptionsT()
        once.builtinOptions.initSubgraphIndex = 1
        handles = [self._handle(self._main, state) for state in states]
        self._main.operators = [
            once,
            *self._in_order(inputs, outputs, handles),
        ]
        self.model.signatureDefs.append(_signature(RESET, 1))

    def _in_order(self, inputs, outputs, handles) -> list:
        """The operators, and those that read and assign the variables.

        A variable is read where it is needed first, and assigned as soon as
        its next value is there: that takes the least memory.
        """
        unread = dict(zip(inputs, handles, strict=True))
        unassigned = list(zip(outputs, inputs, handles, strict=True))
        missing = set(inputs)
        for operator in self._main.operators:
            missing.update(operator.outputs)
        ordered = []

        def read(indices) -> None:
            for index in [index for index in unread if index in indices]:
                handle, var_handle = unread.pop(index)
                ordered.append(var_handle)
                ordered.append(
                    self._operator(_OP.READ_VARIABLE, [handle], [index])
                )
                missing.discard(index)

        def assign() -> None:
            for item in list(unassigned):
                value, state, (handle, _) = item
                if value not in missing and state not in unread:
                    unassigned.remove(item)
                    ordered.append(
                        self._operator(_OP.ASSIGN_VARIABLE, [handle, value], [])
                    )

        for operator in self._main.operators:
            read(operator.inputs)
            assign()
            ordered.append(operator)
            missing.difference_update(operator.outputs)
            assign()
        # What no operator reads is read to be given on, as an output or as
        # another state.
        read(inputs)
        assign()
        return ordered

    def _reset(self, states, inputs):
        """The subgraph that gives the variables their initial values."""
        graph = schema.SubGraphT()
        graph.name = RESET
        graph.tensors, graph.operators = [], []
        graph.inputs, graph.outputs = [], []
        made = {}
        for state, index in zip(states, inputs, strict=True):
            dtype = self._main.tensors[index].type
            key = (state.shape, state.initial_value, dtype)
            if key not in made:
                made[key] = self._initial(graph, state, dtype)
            handle, var_handle = self._handle(graph, state)
            assign = self._operator(
                _OP.ASSIGN_VARIABLE, [handle, made[key]], []
            )
            graph.operators += [var_handle, assign]
        return graph

    def _initial(self, graph, state: StreamingState, dtype: int) -> int:
        """A tensor of the state's initial value everywhere."""
        name = f"{state.name}_initial"
        if state.initial().nbytes < _LARGE:
            return self._constant(graph, name, state.initial(), dtype)
        value = np.array(state.initial_value, state.dtype)
        shape = np.array(state.shape, np.int32)
        operands = [
            self._constant(graph, f"{name}_value", value, dtype),
            self._constant(
                graph, f"{name}_shape", shape, schema.TensorType.INT32
            ),
        ]
        index = _add(graph.tensors, _tensor(name, state.shape, dtype))
        version = 2 if dtype == schema.TensorType.FLOAT32 else 3
        graph.operators.append(
            self._operator(_OP.BROADCAST_TO, operands, [index], version)
        )
        return index

    def _constant(self, graph, name: str, values: np.ndarray, dtype) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor = _tensor(name, values.shape, dtype)
        tensor.buffer = _add(self.model.buffers, buffer)
        return _add(graph.tensors, tensor)

    def _handle(self, graph, state: StreamingState):
        """A new tensor that stands for the variable, and what makes it."""
        tensor = _tensor(
            f"{state.name}_variable", (), schema.TensorType.RESOURCE
        )
        index = _add(graph.tensors, tensor)
        operator = self._operator(_OP.VAR_HANDLE, [], [index])
        operator.builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
        operator.builtinOptions = schema.VarHandleOptionsT()
        operator.builtinOptions.container = ""
        operator.builtinOptions.sharedName = state.name
        return index, operator

    def _operator(self, code: int, inputs, outputs, version: int = 1):
        operator = schema.OperatorT()
        operator.opcodeIndex = self._opcode(code, version)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        return operator

    def _opcode(self, number: int, version: int) -> int:
        for index, code in enumerate(self.model.operatorCodes):
            if (code.builtinCode, code.version) == (number, version):
                return index
        code = schema.OperatorCodeT()
        code.builtinCode, code.version = number, version
        # Old readers take the code from a byte, or find there that it is new.
        code.deprecatedBuiltinCode = min(
            number, _OP.PLACEHOLDER_FOR_GREATER_OP_CODES
        )
        return _add(self.model.operatorCodes, code)


def _take(entries: list, name: str) -> int:
    """Removes an entry of a signature; gives the index of its tensor."""
    place = [entry.name.decode() for entry in entries].index(name)
    return entries.pop(place).tensorIndex


def _without(indices, index: int) -> list[int]:
    """Without the last that is `index`: one tensor can have two names."""
    indices = list(indices)
    del indices[len(indices) - 1 - indices[::-1].index(index)]
    return indices


def _add(items: list, item) -> int:
    items.append(item)
    return len(items) - 1


def _tensor(name: str, shape: tuple[int, ...], dtype: int):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(shape), dtype
    tensor.hasRank = dtype != schema.TensorType.RESOURCE
    return tensor


def _signature(key: str, subgraph: int):
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, subgraph
    signature.inputs, signature.outputs = [], []
    return signature
