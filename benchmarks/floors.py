"""What TensorFlow's operations take with nothing around them.

A layer that is made of them pads and adds on top. So y, dx and dw together,
each in the fastest of its forms, are a floor under every such layer, and what
another may gain on it. What a form cannot do without is counted: of few
channels, laying segments of the signal side by side; of a multiplier, taking
its outputs apart. Only the time counts: the tensors are random.
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from benchmarks import fastest
from benchmarks import forms
from benchmarks.fastest import Form
from benchmarks.fastest import Parts

# Segments of a signal of few channels, laid side by side as channels.
_SEGMENTS = 16
# Frames of a block of dw under XLA: at least as many as taps, and at most so
# many taps at once.
_FRAMES = (12, 32)
_MOST_TAPS = 64


def graph(cell) -> Callable[[], list]:
    """A function that runs the fastest forms in one plain graph.

    Args:
        cell: of op_benchmark.
    """
    choices = _choices(cell, _of_graph, _multiplied, forms.repeat)
    return _fastest(cell, choices)


def jit(cell) -> Callable[[], list]:
    """As graph, under XLA."""
    choices = _choices(cell, _under_xla, _multiplied_under_xla, tf.repeat)
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
    inputs = _random(*shape, channels // multiplier)

    def function(inputs, kernel):
        repeated = repeat(inputs, multiplier, axis=-1)
        return form.function(repeated, kernel)

    return Form(function, (inputs, kernel))


class _Apart:
    """Forms of one output, of each of those of a multiplier.

    Gradients of outputs that dx and dw have in common they have again.
    """

    def __init__(self, multiplier: int):
        self._multiplier = multiplier
        self._wide = {}

    def sum(self, form: Form) -> Form:
        upstream, kernel = form.tensors
        kernels = [_random(*kernel.shape) for _ in range(self._multiplier)]

        def function(upstream, *kernels):
            upstreams = forms.apart(upstream, self._multiplier)
            pairs = zip(upstreams, kernels, strict=True)
            return tf.add_n([form.function(*pair) for pair in pairs])

        return Form(function, (self._of_all(upstream), *kernels))

    def each(self, form: Form) -> Form:
        *inputs, upstream = form.tensors

        def function(*tensors):
            *inputs, upstream = tensors
            upstreams = forms.apart(upstream, self._multiplier)
            return [form.function(*inputs, each) for each in upstreams]

        return Form(function, (*inputs, self._of_all(upstream)))

    def _of_all(self, upstream: tf.Tensor) -> tf.Tensor:
        *shape, channels = upstream.shape
        key = id(upstream)
        if key not in self._wide:
            wide = _random(*shape, channels * self._multiplier)
            self._wide[key] = upstream, wide
        return self._wide[key][1]


def _of_graph(cell) -> list[Parts]:
    if cell.stride > 1:
        return [_strided(cell)]
    if cell.dilation > 1:
        return _dilated(cell)
    return [_plain(cell)]


def _under_xla(cell) -> list[Parts]:
    batch, steps, channels, taps = _sizes(cell)
    y = _with_options(
        forms.sum_of_taps,
        (
            _random(batch, steps + (taps - 1) * cell.dilation, channels),
            _random(taps, channels),
        ),
        dilation=cell.dilation,
        stride=cell.stride,
    )
    batch, steps, channels, taps = _folded(cell)
    dx = _with_options(
        forms.sum_of_taps,
        (_random(batch, steps + taps - 1, channels), _random(taps, channels)),
    )
    runs = math.ceil(taps / _MOST_TAPS)
    at_once = taps // runs
    dw = []
    for frames in _FRAMES:
        blocks = max(1, steps // max(frames, at_once))
        size = max(at_once, math.ceil(steps / blocks))
        inputs = [
            _random(batch, blocks, size + at_once - 1, channels)
            for _ in range(runs)
        ]
        upstream = _random(batch, blocks, size, channels)
        dw.append(Form(forms.kernel_gradients_of_blocks, (*inputs, upstream)))
    return [[[y], [dx], dw]]


def _folded(cell) -> tuple[int, int, int, int]:
    """Sizes where the frames between two taps lie side by side as channels.

    So do those of a stride, which as few taps meet.
    """
    batch, steps, channels, taps = _sizes(cell)
    fold = cell.dilation * cell.stride
    return (
        batch,
        max(1, steps // fold),
        channels * fold,
        math.ceil(taps / cell.stride),
    )


def _multiplied_under_xla(cell) -> Parts:
    """Each output with its own kernel, and their gradients side by side."""
    batch, steps, channels, taps = _sizes(cell)
    multiplier = cell.multiplier
    inputs = _random(batch, steps + (taps - 1) * cell.dilation, channels)
    y = _with_options(
        forms.sums_of_taps,
        (inputs, _random(taps, channels, multiplier)),
        dilation=cell.dilation,
        stride=cell.stride,
    )
    batch, steps, channels, taps = _folded(cell)
    upstream = _random(batch, steps + taps - 1, channels * multiplier)
    kernel = _random(taps, channels, multiplier)
    dx = [
        Form(form, (upstream, kernel))
        for form in (
            forms.sum_of_all_taps_and_outputs,
            forms.sum_of_taps_side_by_side,
        )
    ]
    return [[y], dx, []]


def _plain(cell) -> Parts:
    taps = cell.kernel_size
    y, dx, dw = [], [], []
    for segments in _numbers_of_segments(cell):
        inputs, upstream, kernel = _tensors(cell, segments)
        options = {"segments": segments}
        y.append(_with_options(forms.convolve, (inputs, kernel), **options))
        dx.append(_with_options(forms.convolve, (upstream, kernel), **options))
        for over in (forms.over_width, forms.over_height):
            operands = (inputs, upstream)
            dw.append(_with_options(over, operands, taps=taps, **options))
    return [y, dx, dw]


def _numbers_of_segments(cell) -> list[int]:
    """Few channels are made many, of segments of the signal."""
    return [1, _SEGMENTS] if cell.channels < 8 else [1]


def _tensors(cell, segments: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Inputs and gradients of outputs, of whole segments, and a kernel."""
    batch, steps, channels, taps = _sizes(cell)
    windows = max(1, steps // (segments * cell.stride)) * segments
    return (
        _random(batch, windows * cell.stride, channels),
        _random(batch, windows, channels),
        _random(taps, channels * segments, 1),
    )


def _dilated(cell) -> list[Parts]:
    batch, steps, channels, taps = _sizes(cell)
    inputs = _random(batch, steps, channels)
    upstream = _random(batch, steps, channels)
    # Fewer phases, of which the steps are a multiple, and zeros between taps.
    outputs, gradients = [], []
    for phases in {cell.dilation, math.gcd(cell.dilation, steps)}:
        reach = (taps - 1) * (cell.dilation // phases) + 1
        kernel = _random(reach, channels * phases, 1)
        outputs.append(
            [
                [Form(forms.convolve_phases, (each, kernel))]
                for each in (inputs, upstream)
            ]
        )
        gradients.append(
            [
                _with_options(
                    over, (inputs, upstream), phases=phases, taps=reach
                )
                for over in (
                    forms.over_width_of_phases,
                    forms.over_height_of_phases,
                    forms.over_height_of_images,
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
        y.append(_with_options(forms.convolve, (inputs, kernel), **options))
        dx.append(
            _with_options(forms.input_gradient, (upstream, kernel), **options)
        )
        operands = (inputs, upstream)
        dw.append(
            _with_options(forms.over_width, operands, taps=taps, **options)
        )
    batch, windows, channels = upstream.shape
    phases = _random(batch, windows, stride, channels)
    of_rows = _random(batch, max(1, windows - rows + 1), 1, channels)
    # Those of a stride as channels, which dy is repeated for.
    as_channels = [_random(batch, windows, stride * channels) for _ in range(3)]
    row_kernel = _random(rows, stride * channels, 1)
    dx.append(Form(forms.convolve, (as_channels[0], row_kernel)))
    dw.append(
        _with_options(
            forms.filter_gradient,
            (phases, of_rows),
            size=[rows, stride],
            padding="VALID",
        )
    )
    dw.append(
        _with_options(forms.over_height, tuple(as_channels[1:]), taps=rows)
    )
    return [y, dx, dw]


def _multiplied(cell) -> Parts:
    """TensorFlow's operations know multipliers."""
    batch, steps, channels, taps = _sizes(cell)
    multiplier, stride = cell.multiplier, cell.stride
    inputs = _random(batch, steps, channels)
    windows = math.ceil(steps / stride)
    upstream = _random(batch, windows, channels * multiplier)
    if cell.dilation == 1:
        kernel = _random(taps, channels, multiplier)
        options = {"stride": stride}
        tensors = inputs, upstream
        return [
            [_with_options(forms.convolve, (inputs, kernel), **options)],
            [
                _with_options(
                    forms.input_gradient, (upstream, kernel), **options
                )
            ],
            [_with_options(forms.over_width, tensors, taps=taps, **options)],
        ]
    kernel = _random(taps, channels * cell.dilation, multiplier)
    phases = {"phases": cell.dilation}
    return [
        [Form(forms.convolve_phases, (inputs, kernel))],
        [
            _with_options(
                forms.input_gradient_of_phases, (upstream, kernel), **phases
            )
        ],
        [
            _with_options(
                forms.over_width_of_phases,
                (inputs, upstream),
                taps=taps,
                **phases,
            )
        ],
    ]


def _with_options(function, tensors: tuple, **options) -> Form:
    return Form(lambda *tensors: function(*tensors, **options), tensors)


def _sizes(cell) -> tuple[int, int, int, int]:
    return cell.batch, cell.steps, cell.channels, cell.kernel_size


def _random(*shape: int) -> tf.Tensor:
    return tf.random.normal(shape)
