"""Between which numbers a model's outputs lie, whatever it is given.

A graph says so itself: a sigmoid ends in 0 and 1, and so do its mean over
frames, its largest value and what is cut from it. Arithmetic on intervals finds
the same of a `hard_sigmoid`, which is `relu6(x + 3) / 6`, and of a sigmoid that
somebody wrote out. What depends on weights has no bounds.
"""

import math
from collections.abc import Callable
from collections.abc import Sequence

import tensorflow as tf

Bounds = tuple[float, float]

UNBOUNDED = (-math.inf, math.inf)
_PROBABILITY = (0.0, 1.0)

# What is farther from the output does not bound it: an unrolled LSTM, say.
_MAX_DEPTH = 64


def bounds_of(function) -> dict[str, Bounds]:
    """The bounds of the outputs of a traced function.

    Args:
        function: a `ConcreteFunction` that gives a dict from names to tensors.
    """
    names = sorted(function.structured_outputs)  # as TensorFlow flattens it
    graph = _Graph(function.graph.as_graph_def(add_shapes=True))
    return {
        name: graph.bounds(tensor.name, _MAX_DEPTH)
        for name, tensor in zip(names, function.outputs, strict=True)
    }


def is_probability(bounds: Bounds) -> bool:
    """Tells whether all values are at least 0 and at most 1."""
    low, high = bounds
    return low >= 0.0 and high <= 1.0 + 1e-6


class _Graph:
    """A graph or, inside of it, the body of a function that it calls."""

    def __init__(self, definition, library=None, arguments=None):
        nodes = getattr(definition, "node_def", None) or getattr(
            definition, "node", ()
        )
        self._nodes = {node.name: node for node in nodes}
        self._library = library or {
            function.signature.name: function
            for function in definition.library.function
        }
        self._arguments = arguments or {}
        self._known = {}

    def bounds(self, tensor: str, depth: int) -> Bounds:
        """Bounds of a tensor: `name`, `name:0` or, in a body, `name:out:0`."""
        name, *rest = tensor.split(":")
        key = name, int(rest[-1]) if rest else 0
        if not depth:
            return UNBOUNDED
        if key not in self._known:
            self._known[key] = self._computed(*key, depth - 1)
        return self._known[key]

    def _computed(self, name: str, place: int, depth: int) -> Bounds:
        if name in self._arguments:
            return self._arguments[name]
        node = self._nodes.get(name)
        if node is None:
            return UNBOUNDED
        if node.op == "Const":
            return _of_constant(node)
        if node.op == "Softmax" and _classes(node) == 1:
            return 1.0, 1.0
        inputs = [item for item in node.input if not item.startswith("^")]
        is_call = node.op in ("PartitionedCall", "StatefulPartitionedCall")
        rule, chosen = _RULES.get(node.op, (None, slice(0)))
        if not is_call and rule is None:
            return UNBOUNDED
        found = [
            self.bounds(item, depth)
            for item in inputs[slice(None) if is_call else chosen]
        ]
        if is_call:
            return self._called(node, found, place, depth)
        return rule(found)

    def _called(self, node, given: list[Bounds], place: int, depth: int):
        body = self._library.get(node.attr["f"].func.name)
        if body is None:
            return UNBOUNDED
        names = [argument.name for argument in body.signature.input_arg]
        graph = _Graph(
            body, self._library, dict(zip(names, given, strict=True))
        )
        output = body.signature.output_arg[place].name
        return graph.bounds(body.ret[output], depth)


def _classes(node) -> int | None:
    """How many there are, where the graph says it."""
    shapes = node.attr["_output_shapes"].list.shape
    return shapes[0].dim[-1].size if shapes and shapes[0].dim else None


def _of_constant(node) -> Bounds:
    value = tf.make_ndarray(node.attr["value"].tensor)
    if value.dtype.kind not in "fiub" or not value.size:
        return UNBOUNDED
    return float(value.min()), float(value.max())


def _union(found: Sequence[Bounds]) -> Bounds:
    return min(low for low, _ in found), max(high for _, high in found)


def _corners(function: Callable[[float, float], float]):
    """Bounds of a function of two that is extreme at the ends of both."""

    def combined(found: Sequence[Bounds]) -> Bounds:
        first, second = found
        values = [function(a, b) for a in first for b in second]
        if any(map(math.isnan, values)):
            return UNBOUNDED
        return min(values), max(values)

    return combined


def _times(a: float, b: float) -> float:
    return 0.0 if 0.0 in (a, b) else a * b


def _divided(found: Sequence[Bounds]) -> Bounds:
    _, (low, high) = found
    if low <= 0.0 <= high:
        return UNBOUNDED
    return _corners(lambda a, b: a / b)(found)


def _monotonic(function: Callable[[float], float]):
    return lambda found: tuple(map(function, found[0]))


def _exp(value: float) -> float:
    return math.exp(value) if value < 700.0 else math.inf


def _clipped(found: Sequence[Bounds]) -> Bounds:
    (low, high), (least, _), (_, most) = found
    return min(max(low, least), most), max(min(high, most), least)


def _product(found: Sequence[Bounds]) -> Bounds:
    return _PROBABILITY if is_probability(found[0]) else UNBOUNDED


_ALL, _FIRST, _NONE = slice(None), slice(1), slice(0)
_add = _corners(lambda a, b: a + b)

# From an operation to how its bounds come from those of its inputs, and which
# inputs these are.
_RULES = {
    **dict.fromkeys(("Sigmoid", "Softmax"), (lambda _: _PROBABILITY, _NONE)),
    "Tanh": (lambda _: (-1.0, 1.0), _NONE),
    "Relu": (_monotonic(lambda x: max(x, 0.0)), _FIRST),
    "Relu6": (_monotonic(lambda x: min(max(x, 0.0), 6.0)), _FIRST),
    "Exp": (_monotonic(_exp), _FIRST),
    "Neg": (lambda found: (-found[0][1], -found[0][0]), _FIRST),
    **dict.fromkeys(("Add", "AddV2", "BiasAdd"), (_add, _ALL)),
    "Sub": (_corners(lambda a, b: a - b), _ALL),
    "Mul": (_corners(_times), _ALL),
    **dict.fromkeys(("Div", "RealDiv"), (_divided, _ALL)),
    **dict.fromkeys(
        ("Inv", "Reciprocal"), (lambda x: _divided([(1.0, 1.0), *x]), _FIRST)
    ),
    "Maximum": (_corners(max), _ALL),
    "Minimum": (_corners(min), _ALL),
    "ClipByValue": (_clipped, _ALL),
    "Prod": (_product, _FIRST),
    # They choose from what they are given, or take its mean.
    **dict.fromkeys(
        (
            "AvgPool",
            "BroadcastTo",
            "Cast",
            "CheckNumerics",
            "EnsureShape",
            "ExpandDims",
            "Gather",
            "GatherV2",
            "Identity",
            "Max",
            "MaxPool",
            "Mean",
            "Min",
            "PreventGradient",
            "Reshape",
            "ReverseV2",
            "Slice",
            "Snapshot",
            "SplitV",
            "Squeeze",
            "StopGradient",
            "StridedSlice",
            "Tile",
            "Transpose",
            "Unpack",
        ),
        (_union, _FIRST),
    ),
    "Split": (_union, slice(1, 2)),
    **dict.fromkeys(("Select", "SelectV2"), (_union, slice(1, 3))),
    "ConcatV2": (_union, slice(-1)),
    "Pack": (_union, _ALL),
}
