"""A TFLite file as objects that can be changed, and as bytes again."""

from ai_edge_litert.tools import flatbuffer_utils

from tfconv_export import flatbuffer_writing
from tfconv_export.flatbuffer import Facts


def read(content: bytes):
    """The file as a `schema.ModelT`."""
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def write(model) -> bytes:
    """The file of a `schema.ModelT`."""
    return flatbuffer_writing.write(model)


def name_of(tensor) -> str:
    """The tensor's name, as `flatbuffer.read` gives it."""
    return (tensor.name or b"").decode(errors="replace")


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
