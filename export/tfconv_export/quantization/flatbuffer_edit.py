"""A TFLite file as objects that can be changed, and as bytes again."""

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tfconv_export import flatbuffer_writing
from tfconv_export.flatbuffer import Facts

_KINDS = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if isinstance(code, int)
}
_PLACEHOLDER = schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES


def read(content: bytes):
    """The file as a `schema.ModelT`."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def write(model) -> bytes:
    """The file of a `schema.ModelT`."""
    return flatbuffer_writing.write(model)


def name_of(tensor) -> str:
    """The tensor's name, as `flatbuffer.read` gives it."""
    return (tensor.name or b"").decode(errors="replace")


def kind_of(model, operator) -> str:
    """The name of an operator, such as `"CONV_2D"`."""
    code = model.operatorCodes[operator.opcodeIndex]
    return _KINDS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def opcode(model, kind: str, version: int) -> int:
    """The index of an operator code, which is added if there is none."""
    wanted = getattr(schema.BuiltinOperator, kind)
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == wanted and code.version == version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = wanted
    # Readers of before 2020 look here, where there is room up to 127.
    code.deprecatedBuiltinCode = min(wanted, _PLACEHOLDER)
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def add_tensor(model, tensor) -> int:
    """The index of a tensor that is added to the main subgraph."""
    tensors = model.subgraphs[0].tensors
    tensors.append(tensor)
    return len(tensors) - 1


def by_facts(facts: Facts, model) -> dict:
    """The operators of the main subgraph, by the id of their facts."""
    # The facts go on with the operators of other subgraphs.
    operators = model.subgraphs[0].operators
    return dict(zip(map(id, facts.operators), operators, strict=False))


def remove_unused(model) -> None:
    """Takes out the main subgraph's unused tensors, and unused buffers."""
    _remove_unused_tensors(model)
    _remove_unused_buffers(model)


def _remove_unused_tensors(model) -> None:
    main = model.subgraphs[0]
    used = {*main.inputs, *main.outputs}
    for operator in main.operators:
        used.update(operator.inputs)
        used.update(operator.outputs)
        used.update(
            [] if operator.intermediates is None else operator.intermediates
        )
    moved = {index: new for new, index in enumerate(sorted(used - {-1}))}
    moved[-1] = -1
    main.tensors = [main.tensors[index] for index in moved if index >= 0]
    main.inputs = [moved[index] for index in main.inputs]
    main.outputs = [moved[index] for index in main.outputs]
    for operator in main.operators:
        for field in ("inputs", "outputs", "intermediates"):
            indices = getattr(operator, field)
            if indices is not None:
                setattr(operator, field, [moved[index] for index in indices])
    for signature in model.signatureDefs or []:
        if signature.subgraphIndex == 0:
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = moved[entry.tensorIndex]


def _remove_unused_buffers(model) -> None:
    # The first one is empty: that of tensors without constant values.
    holders = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    holders += model.metadata or []
    used = sorted({0, *(holder.buffer for holder in holders)})
    moved = {index: new for new, index in enumerate(used)}
    for holder in holders:
        holder.buffer = moved[holder.buffer]
    model.buffers = [model.buffers[index] for index in used]
