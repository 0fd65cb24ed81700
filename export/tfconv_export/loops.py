"""The loops of a graph, which the converter cannot quantize."""

import re
from collections.abc import Iterable
from collections.abc import Iterator

from tfconv_export import recurrent

_LOOPS = ("While", "StatelessWhile")

# What the operator for whole sequences takes of an LSTM: the frames, two
# states, two kernels and a bias. There would be a mask, too.
_FUSED_ARGUMENTS = 6
_FUSED_RESULTS = 2


def find(graph_def) -> list[str]:
    """The names of a graph's loops, in called functions as well.

    Args:
        graph_def: a `tf.compat.v1.GraphDef`.

    Returns:
        Their names, behind those of the calls that lead to them; none of those
        that the converter makes one operator of, as it does of an LSTM.
    """
    library = {
        function.signature.name: function
        for function in graph_def.library.function
    }
    found = _in(graph_def.node, (), library, set())
    return list(dict.fromkeys(found))


def _in(nodes, results, library, seen: set[str]) -> Iterator[str]:
    used = [*results, *(name for node in nodes for name in node.input)]
    for node in nodes:
        if node.op in _LOOPS:
            yield node.name
            continue
        for name in _called(node):
            function = library.get(name)
            if function is None or name in seen:
                continue
            if _is_fused(function, node.name, used):
                continue
            seen.add(name)
            inner = _in(function.node_def, function.ret.values(), library, seen)
            yield from (f"{node.name}/{loop}" for loop in inner)


def _called(node) -> Iterator[str]:
    # A graph also calls a function by its name, as if it were an operation.
    yield node.op
    for value in node.attr.values():
        for function in (value.func, *value.list.func):
            yield function.name


def _is_fused(function, call: str, used: list[str]) -> bool:
    """Whether the converter replaces a call by the operator for LSTM."""
    name = function.attr[recurrent.API].s.decode()
    if not name.startswith(recurrent.API_PREFIX):
        return False
    indices = [
        int(found[1] or 0)
        for value in used
        if (
            found := re.fullmatch(
                rf"{re.escape(call)}(?::(?:output:)?(\d+))?", value
            )
        )
    ]
    return len(function.signature.input_arg) == _FUSED_ARGUMENTS and all(
        index < _FUSED_RESULTS for index in indices
    )


def refusal(layers: Iterable[str], mode: str, *, is_keras: bool) -> str:
    """The sentence on loops that were to be quantized, with what to do.

    Args:
        layers: strings, the layers that have loops.
        mode: string, the `--quantize` mode.
        is_keras: bool, whether the model is one of Keras's layers.
    """
    names = ", ".join(dict.fromkeys(layers))
    if is_keras:
        remedy = "build it with unroll=True"
    else:
        remedy = (
            "give the Keras model as a .keras file, the layer built with "
            "unroll=True"
        )
    if mode == "int16x8":
        plain = "use --quantize=int8 for an LSTM"
    else:
        plain = "make it an LSTM"
    return (
        f"The model computes {names} in a loop, which TFLite's converter "
        f"cannot quantize to {mode}; {remedy}, or {plain} with Keras's default "
        "activations and no mask, initial state or stateful=True, or use "
        "--quantize=none."
    )
