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

from benchmarks import forms
from benchmarks import timing

# Segments of a signal of few channels, laid side by side as channels.
_SEGMENTS = 16
# Frames of a block of dw under XLA: at least as many as taps, and at most so
# many taps at once.
_FRAMES = (12, 32)
_MOST_TAPS = 64
# Enough to tell forms apart that differ.
_SECONDS_TO_CHOOSE = 0.2


@dataclasses.dataclass(frozen=True)
class Form:
    """A function, and the tensors that it is called with."""

    function: Callable
    tensors: tuple[tf.Tensor, ...]


def graph(cell) -> Callable[[], list] | None:
    """The fastest forms in one plain graph.

    Args:
        cell: of op_benchmark.

    Returns:
        A function that runs them; `None` for a multiplier with a stride or a
        dilation.
    """
    if cell.multiplier > 1 and max(cell.stride, cell.dilation) > 1:
        return None
    if cell.stride > 1:
        choices = [_strided(cell)]
    elif cell.multiplier > 1:
        choices = [_multiplied(cell)]
    elif cell.dilation > 1:
        choices = _dilated(cell)
    else:
        choices = [_plain(cell)]
    if cell.computes == "y":
        choices = [parts[:1] for parts in choices]
    return _fastest_together(choices)


def jit(cell) -> Callable[[], list] | None:
    """The fastest forms under XLA; `None` with a multiplier."""
    if cell.multiplier > 1:
        return None
    batch, steps, channels, taps = _sizes(cell)
    reach = (taps - 1) * cell.dilation
    y = _with_options(
        forms.sum_of_taps,
        (_random(batch, steps + reach, channels), _random(taps, channels)),
        dilation=cell.dilation,
        stride=cell.stride,
    )
    if cell.computes == "y":
        return _fastest_together([[[y]]], jit_compile=True)
    # The frames between two taps side by side as channels, and those of a
    # stride, which as few taps meet.
    fold = cell.dilation * cell.stride
    steps, channels = max(1, steps // fold), channels * fold
    taps = math.ceil(taps / cell.stride)
    dx = _with_options(
        forms.sum_of_taps,
        (_random(batch, steps + taps - 1, channels), _random(taps, channels)),
    )
    runs = math.ceil(taps / _MOST_TAPS)
    at_once = taps // runs
    dw = []
    for frames in _FRAMES:
        size = max(frames, at_once)
        blocks = max(1, steps // size)
        inputs = [
            _random(batch, blocks, size + at_once - 1, channels)
            for _ in range(runs)
        ]
        upstream = _random(batch, blocks, size, channels)
        dw.append(Form(forms.kernel_gradients_of_blocks, (upstream, *inputs)))
    return _fastest_together([[[y], [dx], dw]], jit_compile=True)


def _plain(cell) -> list[list[Form]]:
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


def _dilated(cell) -> list[list[list[Form]]]:
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


def _strided(cell) -> list[list[Form]]:
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


def _multiplied(cell) -> list[list[Form]]:
    batch, steps, channels, taps = _sizes(cell)
    multiplier = cell.multiplier
    inputs = _random(batch, steps, channels)
    upstream = _random(batch, steps, channels * multiplier)
    kernel = _random(taps, channels, multiplier)
    options = {"multiplier": multiplier}
    return [
        [
            Form(forms.convolve, (inputs, kernel)),
            Form(forms.convolve_repeated, (inputs, kernel)),
        ],
        [
            _with_options(forms.input_gradient, (upstream, kernel), stride=1),
            _with_options(
                forms.input_gradient_apart, (upstream, kernel), **options
            ),
        ],
        [
            _with_options(forms.over_width, (inputs, upstream), taps=taps),
            _with_options(
                forms.over_height_apart,
                (inputs, upstream),
                taps=taps,
                **options,
            ),
        ],
    ]


def _fastest_together(
    choices: list[list[list[Form]]], jit_compile: bool = False
) -> Callable[[], list]:
    """The fastest choice, which has several forms of each of its parts."""
    of_choices = [
        [
            form
            for part in parts
            for form in _fastest([[form] for form in part], jit_compile)
        ]
        for parts in choices
    ]
    return _together(_fastest(of_choices, jit_compile), jit_compile)


def _fastest(choices: list[list[Form]], jit_compile: bool) -> list[Form]:
    if len(choices) == 1:
        return choices[0]
    timings = timing.measure(
        {
            index: timing.Repeated(_together(chosen, jit_compile))
            for index, chosen in enumerate(choices)
        },
        rounds=50,
        seconds=_SECONDS_TO_CHOOSE,
    )
    return choices[min(timings, key=lambda index: timings[index].median)]


def _together(chosen: list[Form], jit_compile: bool) -> Callable[[], list]:
    """In one function, which takes each tensor once.

    So what two forms do alike with the same, such as padding, is done once.
    """
    tensors = {id(each): each for form in chosen for each in form.tensors}

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(tensors):
        return [
            form.function(*[tensors[str(id(each))] for each in form.tensors])
            for form in chosen
        ]

    named = {str(name): each for name, each in tensors.items()}
    return lambda: run(named)


def _with_options(function, tensors: tuple, **options) -> Form:
    return Form(lambda *tensors: function(*tensors, **options), tensors)


def _sizes(cell) -> tuple[int, int, int, int]:
    return cell.batch, cell.steps, cell.channels, cell.kernel_size


def _random(*shape: int) -> tf.Tensor:
    return tf.random.normal(shape)
