"""Contents of a graph, and of functions it calls, that no file can hold."""

import re
from collections.abc import Iterable
from collections.abc import Iterator

import tensorflow as tf

from tfconv_export import recurrent

_LOOPS = ("While", "StatelessWhile")
_ASSIGNMENTS = (
    "AssignVariableOp",
    "AssignAddVariableOp",
    "AssignSubVariableOp",
)

# What the operator for whole sequences takes of an LSTM: the frames, two
# states, two kernels and a bias. There would be a mask, too.
_FUSED_ARGUMENTS = 6
_FUSED_RESULTS = 2
_STATES = slice(1, 3)


def loops(graph_def, *, fuses: bool = True) -> list[str]:
    """The loops of a graph, which the converter cannot quantize.

    Args:
        graph_def: a `tf.compat.v1.GraphDef`.
        fuses: bool, whether the converter is to make one operator of an LSTM;
            that is no loop.

    Returns:
        Their names, behind those of the calls that lead to them.
    """
    return _find(graph_def, _LOOPS, fuses)


def assignments(graph_def) -> list[str]:
    """Finds what assigns a graph's variables; named as in `loops`."""
    return _find(graph_def, _ASSIGNMENTS, fuses=True)


def _find(graph_def, kinds, fuses: bool) -> list[str]:
    library = {
        function.signature.name: function
        for function in graph_def.library.function
    }
    found = _in(graph_def.node, (), library, kinds, fuses, set())
    return list(dict.fromkeys(found))


def _in(nodes, results, library, kinds, fuses, seen) -> Iterator[str]:
    by_name = {node.name: node for node in nodes}
    used = [*results, *(name for node in nodes for name in node.input)]
    for node in nodes:
        if node.op in kinds:
            yield node.name
            continue
        for name in _called(node):
            function = library.get(name)
            if function is None or name in seen:
                continue
            if fuses and _is_fused(function, node, by_name, used):
                continue
            seen.add(name)
            nodes_there, results_there = function.node_def, function.ret
            inner = _in(
                nodes_there, results_there.values(), library, kinds, fuses, seen
            )
            yield from (f"{node.name}/{found}" for found in inner)


def _called(node) -> Iterator[str]:
    # A graph also calls a function by its name, as if it were an operation.
    yield node.op
    for value in node.attr.values():
        for function in (value.func, *value.list.func):
            yield function.name


def _is_fused(function, call, nodes, used: list[str]) -> bool:
    """Tells whether the converter replaces a call by the operator for LSTM.

    It does so, and then may crash, if the states at first are not zero.
    """
    name = function.attr[recurrent.API].s.decode()
    if (
        not name.startswith(recurrent.API_PREFIX)
        or len(function.signature.input_arg) != _FUSED_ARGUMENTS
    ):
        return False
    result = re.compile(rf"{re.escape(call.name)}(?::output)?(?::(\d+))?")
    indices = [
        int(found[1] or 0)
        for found in map(result.fullmatch, used)
        if found is not None
    ]
    return all(index < _FUSED_RESULTS for index in indices) and all(
        _is_zero(name, nodes) for name in call.input[_STATES]
    )


def _is_zero(name: str, nodes) -> bool:
    node = nodes.get(name.partition(":")[0])
    if node is None:
        return False
    if node.op == "Const":
        return not tf.make_ndarray(node.attr["value"].tensor).any()
    if node.op == "ZerosLike":
        return True
    # What a Fill fills with is its last operand.
    return node.op in ("Identity", "Fill") and _is_zero(
        [name for name in node.input if not name.startswith("^")][-1], nodes
    )


def refuse_loops(layers: Iterable[str], mode: str, is_keras: bool) -> str:
    """The sentence on loops that were to be quantized, with what to do.

    Args:
        layers: strings, the layers that have loops.
        mode: string, the `--quantize` mode.
        is_keras: bool, whether the model is one of Keras's layers.
    """
    where = "" if is_keras else "give the Keras model as a .keras file, and "
    remedies = [f"{where}build a recurrent layer with unroll=True and no mask"]
    if mode == "int16x8":
        remedies.append("use --quantize=int8 for an LSTM that is one operator")
    else:
        remedies.append(
            "make it an LSTM with Keras's default activations and no mask, "
            "initial state or stateful=True"
        )
    if is_keras:
        remedies.append("use --quantize=none")
    return (
        f"The model computes {_listed(layers)} in a loop, which TFLite's "
        f"converter cannot quantize to {mode}; {', or '.join(remedies)}."
    )


def refuse_streamed_loops(layers: Iterable[str]) -> str:
    """The sentence on loops in a stream, with what to do."""
    return (
        f"The model computes {_listed(layers)} in a loop, which a streaming "
        "file cannot hold; build an LSTM there with unroll=True and no mask."
    )


def refuse_assignments(layers: Iterable[str]) -> str:
    """The sentence on variables that change when the model is called."""
    return (
        f"The model keeps a state from one call to the next in "
        f"{_listed(layers)}, as layers with stateful=True do, and a file for "
        "whole windows begins anew with every one; build it with "
        "stateful=False."
    )


def _listed(layers: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(layers))
