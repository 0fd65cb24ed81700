"""What TensorFlow's operations take with nothing around them.

A layer that is made of them pads and adds on top. So y, dx and dw together,
each in the fastest of its forms, are a floor under every such layer, and what
another may gain on it. What a form cannot do without is counted: of few
channels, laying segments of the signal side by side; of a multiplier, taking
its outputs apart; under XLA, which has no operation that pads, the windows over
the edges. Only the time counts: the tensors are random.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from benchmarks import fastest
from benchmarks import graph_floors
from benchmarks import graph_forms
from benchmarks import xla_floors
from benchmarks.fastest import Form
from benchmarks.fastest import Parts
from benchmarks.fastest import random
from benchmarks.fastest import shared


def graph(cell) -> Callable[[], list]:
    """A function that runs the fastest forms in one plain graph.

    Args:
        cell: of op_benchmark.
    """
    choices = _choices(
        cell, graph_floors.choices, graph_floors.multiplied, graph_forms.repeat
    )
    return _fastest(cell, choices)


def jit(cell) -> Callable[[], list]:
    """As graph, under XLA."""
    choices = _choices(
        cell, xla_floors.choices, xla_floors.multiplied, tf.repeat
    )
    return _fastest(cell, choices, jit_compile=True)


def _fastest(cell, choices, jit_compile=False) -> Callable[[], list]:
    if cell.computes == "y":
        choices = [parts[:1] for parts in choices]
    return fastest.together(choices, jit_compile)


def _choices(
    cell,
    choices_of: Callable[..., list[Parts]],
    multiplied: Callable[..., Parts],
    repeat: Callable,
) -> list[Parts]:
    """As `choices_of` one output for each channel.

    Of a multiplier, they make y of repeated channels, and dx and dw of each
    output apart; and there are the forms that `multiplied` returns.
    """
    multiplier = cell.multiplier
    single = dataclasses.replace(cell, multiplier=1)
    choices = choices_of(single)
    if multiplier == 1:
        return choices
    repeated = dataclasses.replace(single, channels=cell.channels * multiplier)
    y = [
        _of_repeated(form, multiplier, repeat)
        for parts in choices_of(repeated)
        for form in parts[0]
    ]
    apart = _Apart(multiplier)
    of_multiplier = multiplied(cell)
    return [
        [
            forms_of_part + others
            for forms_of_part, others in zip(
                [y, [*map(apart.sum, dx)], [*map(apart.each, dw)]],
                of_multiplier,
                strict=True,
            )
        ]
        for _, dx, dw in choices
    ]


def _of_repeated(form: Form, multiplier: int, repeat: Callable) -> Form:
    inputs, kernel = form.tensors
    *shape, channels = inputs.shape
    inputs = shared("inputs", *shape, channels // multiplier)

    def function(inputs, kernel):
        repeated = repeat(inputs, multiplier, axis=-1)
        return form.function(repeated, kernel)

    return Form(function, (inputs, kernel))


class _Apart:
    """Forms of one output, of each of those of a multiplier."""

    def __init__(self, multiplier: int):
        self._multiplier = multiplier

    def sum(self, form: Form) -> Form:
        upstream, kernel = form.tensors
        kernels = [random(*kernel.shape) for _ in range(self._multiplier)]

        def function(upstream, *kernels):
            upstreams = graph_forms.apart(upstream, self._multiplier)
            pairs = zip(upstreams, kernels, strict=True)
            return tf.add_n([form.function(*pair) for pair in pairs])

        return Form(function, (self._of_all(upstream), *kernels))

    def each(self, form: Form) -> Form:
        *inputs, upstream = form.tensors

        def function(*tensors):
            *inputs, upstream = tensors
            upstreams = graph_forms.apart(upstream, self._multiplier)
            return [form.function(*inputs, each) for each in upstreams]

        return Form(function, (*inputs, self._of_all(upstream)))

    def _of_all(self, upstream: tf.Tensor) -> tf.Tensor:
        *shape, channels = upstream.shape
        return shared("upstream", *shape, channels * self._multiplier)
