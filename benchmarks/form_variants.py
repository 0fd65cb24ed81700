"""Every way to compute a convolution or a part of it, for forms.py."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

import keras
import tensorflow as tf

import tfconv
from benchmarks.form_cells import Cell
from benchmarks.form_data import Step
from tfconv.ops import selection
from tfconv.ops.selection import Form

PARTS = ("y", "dx", "dw")
WHATS = (*PARTS, "all")
TABLE = "table"
OP = "op"
CONV1D = "conv1d"
KERAS = "keras"

_Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_Forcing = Mapping[str, tuple[Form, ...]]


@dataclasses.dataclass(frozen=True)
class Variant:
    """A traced function.

    Attributes:
        name: string.
        path: the choices that concern what it computes, each once.
        function: takes inputs, a kernel and a gradient of the outputs.
        free: the first choice that was the table's and not forced, or `None`.
    """

    name: str
    path: tuple[Step, ...]
    function: Callable[..., list[tf.Tensor]]
    free: Step | None = None


def forms(
    cell: Cell, lowering: str, what: str, tensors: tuple[tf.Tensor, ...]
) -> list[Variant]:
    """Those of tfconv's operation, each path once, the tables' own first.

    Of y, dx and dw they are all that can be forced; of "all", each form of the
    whole with the parts that the tables choose.
    """
    tracer = _Tracer(convolution(cell), lowering, what, tensors)
    found = [tracer.trace({})]
    if what == "all":
        table, possible = found[0].free.table, found[0].free.possible
        found += [tracer.trace({table: (form,)}) for form in possible]
    else:
        found += _explore(tracer, {})
    paths = {}
    for variant in found:
        paths.setdefault(variant.path, variant)
    return list(paths.values())


def others(
    cell: Cell,
    lowering: str,
    what: str,
    tensors: tuple[tf.Tensor, ...],
    names: Iterable[str],
) -> list[Variant]:
    """TensorFlow's own operations and Keras's layer, of `OTHERS` by name."""
    return [
        dataclasses.replace(
            _Tracer(OTHERS[name](cell), lowering, what, tensors).trace({}),
            name=name,
        )
        for name in names
    ]


def convolution(cell: Cell) -> _Operation:
    """tfconv's."""
    return lambda inputs, kernel: tfconv.ops.depthwise_conv1d(
        inputs, kernel, cell.stride, "same", cell.dilation
    )


def native_op(cell: Cell) -> _Operation:
    """TensorFlow's depthwise operation, time as the width of an image."""

    def operation(inputs, kernel):
        outputs = tf.nn.depthwise_conv2d(
            tf.expand_dims(inputs, axis=1),
            tf.expand_dims(kernel, axis=0),
            strides=[1, cell.stride, cell.stride, 1],
            padding="SAME",
            dilations=[1, cell.dilation],
        )
        return tf.squeeze(outputs, axis=1)

    return operation


def conv1d(cell: Cell) -> _Operation:
    """TensorFlow's operation that mixes channels, of which there is one."""
    return lambda inputs, kernel: tf.nn.conv1d(
        inputs,
        kernel,
        stride=cell.stride,
        padding="SAME",
        dilations=cell.dilation,
    )


def keras_layer(cell: Cell) -> _Operation:
    """Keras's layer, of a kernel from outside."""
    layer = keras.layers.DepthwiseConv1D(
        cell.kernel_size,
        strides=cell.stride,
        padding="same",
        depth_multiplier=cell.multiplier,
        dilation_rate=cell.dilation,
        use_bias=False,
    )
    layer.build((cell.batch, cell.steps, cell.channels))

    def operation(inputs, kernel):
        outputs, _ = layer.stateless_call([kernel], [], inputs)
        return outputs

    return operation


OTHERS = {OP: native_op, CONV1D: conv1d, KERAS: keras_layer}


class _Tracer:
    """Traces an operation, or gradients of it, and keeps its choices."""

    def __init__(
        self,
        operation: _Operation,
        lowering: str,
        what: str,
        tensors: tuple[tf.Tensor, ...],
    ):
        self._operation = operation
        self._lowering = lowering
        self._what = what
        self._tensors = tensors
        self._traced: list[Variant] = []

    def trace(self, forcing: _Forcing) -> Variant:
        """A variant with a forcing, which may be traced already."""
        for variant in self._traced:
            with selection.forcing(forcing), selection.recording() as record:
                same = all(
                    selection.choose(step.table, step.work, step.possible)
                    is step.form
                    for step in variant.path
                )
            if same:
                free = (
                    step
                    for step, choice in zip(variant.path, record, strict=True)
                    if choice.row is not None
                )
                return dataclasses.replace(variant, free=next(free, None))
        self._traced.append(self._trace(forcing))
        return self._traced[-1]

    def _trace(self, forcing: _Forcing) -> Variant:
        forward = []  # How many choices are made before the gradients'.

        def run(inputs, kernel, upstream):
            sources = {
                "y": [],
                "dx": [inputs],
                "dw": [kernel],
                "all": [inputs, kernel],
            }[self._what]
            with tf.GradientTape() as tape:
                for source in sources:
                    tape.watch(source)
                outputs = self._operation(inputs, kernel)
            forward.append(len(record))
            gradients = []
            if sources:
                gradients = tape.gradient(outputs, sources, upstream)
            return [outputs] * (self._what in ("y", "all")) + gradients

        function = tf.function(run, jit_compile=self._lowering == "xla")
        with selection.forcing(forcing), selection.recording() as record:
            traced = function.get_concrete_function(*self._tensors)
        steps = {
            _step(choice, is_forward=number < forward[-1]): choice.row
            for number, choice in enumerate(record)
        }
        if self._what != "all":
            steps = {
                step: row
                for step, row in steps.items()
                if step.part in ("whole", self._what)
            }
        free = (step for step, row in steps.items() if row is not None)
        return Variant(_name(forcing), tuple(steps), traced, next(free, None))


def _step(choice: selection.Choice, is_forward: bool) -> Step:
    if choice.table in ("graph", "xla"):
        part = "whole"
    elif is_forward:
        part = "y"
    else:
        part = "dw" if choice.table.endswith("dw") else "dx"
    return Step(part, choice.table, choice.work, choice.form, choice.possible)


def _explore(tracer: _Tracer, forcing: _Forcing) -> Iterator[Variant]:
    """All paths on which nothing is left to the tables."""
    variant = tracer.trace(forcing)
    if variant.free is None:
        yield variant
        return
    table = variant.free.table
    for form in variant.free.possible:
        order = (*forcing.get(table, ()), form)
        yield from _explore(tracer, {**forcing, table: order})


def _name(forcing: _Forcing) -> str:
    """Such as `PARTS REPEATED>NATIVE`, an order for each table."""
    orders = (">".join(form.name for form in o) for o in forcing.values())
    return " ".join(orders) or TABLE
