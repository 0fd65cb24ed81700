"""The forms of y, dx and dw in a plain graph, for floors.py."""

import math

import tensorflow as tf

from benchmarks import graph_forms
from benchmarks.fastest import Form
from benchmarks.fastest import Parts
from benchmarks.fastest import random
from benchmarks.fastest import shared
from benchmarks.fastest import with_options
from benchmarks.products import with_products

# Segments of a signal of few channels, laid side by side as channels.
_SEGMENTS = 16


def choices(cell) -> list[Parts]:
    if cell.stride > 1:
        return [with_products(cell, _strided(cell))]
    if cell.dilation > 1:
        return _dilated(cell)
    return [with_products(cell, _plain(cell))]


def _plain(cell) -> Parts:
    taps = cell.kernel_size
    y, dx, dw = [], [], []
    for segments in _numbers_of_segments(cell):
        inputs, upstream, kernel = _tensors(cell, segments)
        options = {"segments": segments}
        y.append(
            with_options(graph_forms.convolve, (inputs, kernel), **options)
        )
        dx.append(
            with_options(graph_forms.convolve, (upstream, kernel), **options)
        )
        for over in (graph_forms.over_width, graph_forms.over_height):
            operands = (inputs, upstream)
            dw.append(with_options(over, operands, taps=taps, **options))
    return [y, dx, dw]


def _numbers_of_segments(cell) -> list[int]:
    """Few channels are made many, of segments of the signal."""
    return [1, _SEGMENTS] if cell.channels < 8 else [1]


def _tensors(cell, segments: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Inputs and gradients of outputs, of whole segments, and a kernel."""
    batch, steps, channels, taps = cell.sizes
    windows = max(1, steps // (segments * cell.stride)) * segments
    return (
        shared("inputs", batch, windows * cell.stride, channels),
        shared("upstream", batch, windows, channels),
        random(taps, channels * segments, 1),
    )


def _dilated(cell) -> list[Parts]:
    batch, steps, channels, taps = cell.sizes
    inputs = shared("inputs", batch, steps, channels)
    upstream = shared("upstream", batch, steps, channels)
    # Fewer phases, of which the steps are a multiple, and zeros between taps.
    outputs, gradients = [], []
    for phases in {cell.dilation, math.gcd(cell.dilation, steps)}:
        reach = (taps - 1) * (cell.dilation // phases) + 1
        kernel = random(reach, channels * phases, 1)
        outputs.append(
            [
                [Form(graph_forms.convolve_phases, (each, kernel))]
                for each in (inputs, upstream)
            ]
        )
        gradients.append(
            [
                with_options(
                    over, (inputs, upstream), phases=phases, taps=reach
                )
                for over in (
                    graph_forms.over_width_of_phases,
                    graph_forms.over_height_of_phases,
                    graph_forms.over_height_of_images,
                )
            ]
        )
    choices = [[*y_and_dx, dw] for y_and_dx in outputs for dw in gradients]
    if channels < 8:
        # Segments of phases, as many as a plain signal has.
        choices.append(_plain(cell))
    return choices


def _strided(cell) -> Parts:
    stride, taps = cell.stride, cell.kernel_size
    rows = math.ceil((taps + stride - 1) / stride)
    y, dx, dw = [], [], []
    for segments in _numbers_of_segments(cell):
        inputs, upstream, kernel = _tensors(cell, segments)
        options = {"stride": stride, "segments": segments}
        y.append(
            with_options(graph_forms.convolve, (inputs, kernel), **options)
        )
        dx.append(
            with_options(
                graph_forms.input_gradient, (upstream, kernel), **options
            )
        )
        operands = (inputs, upstream)
        dw.append(
            with_options(graph_forms.over_width, operands, taps=taps, **options)
        )
    batch, windows, channels = upstream.shape
    phases = random(batch, windows, stride, channels)
    of_rows = random(batch, max(1, windows - rows + 1), 1, channels)
    # Those of a stride as channels, which dy is repeated for.
    row_kernel = random(rows, stride * channels, 1)
    dx.append(
        with_options(
            graph_forms.convolve_repeated, (upstream, row_kernel), stride=stride
        )
    )
    dw.append(
        with_options(
            graph_forms.filter_gradient,
            (phases, of_rows),
            size=[rows, stride],
            padding="VALID",
        )
    )
    dw.append(
        with_options(
            graph_forms.over_height_of_rows,
            (inputs, upstream),
            stride=stride,
            taps=rows,
        )
    )
    return [y, dx, dw]


def multiplied(cell) -> Parts:
    """TensorFlow's operations know multipliers."""
    batch, steps, channels, taps = cell.sizes
    multiplier, stride = cell.multiplier, cell.stride
    inputs = shared("inputs", batch, steps, channels)
    windows = math.ceil(steps / stride)
    upstream = shared("upstream", batch, windows, channels * multiplier)
    if cell.dilation == 1:
        kernel = random(taps, channels, multiplier)
        options = {"stride": stride}
        tensors = inputs, upstream
        parts = [
            [with_options(graph_forms.convolve, (inputs, kernel), **options)],
            [
                with_options(
                    graph_forms.input_gradient, (upstream, kernel), **options
                )
            ],
            [
                with_options(
                    graph_forms.over_width, tensors, taps=taps, **options
                )
            ],
        ]
        return with_products(cell, parts)
    kernel = random(taps, channels * cell.dilation, multiplier)
    phases = {"phases": cell.dilation}
    return [
        [Form(graph_forms.convolve_phases, (inputs, kernel))],
        [
            with_options(
                graph_forms.input_gradient_of_phases,
                (upstream, kernel),
                **phases,
            )
        ],
        [
            with_options(
                graph_forms.over_width_of_phases,
                (inputs, upstream),
                taps=taps,
                **phases,
            )
        ],
    ]
