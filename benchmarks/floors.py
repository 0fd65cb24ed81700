"""What TensorFlow's operations take with nothing around them.

A layer that is made of them pads, reshapes and adds on top. So y, dx and dw
together, each in the fastest of its forms, are a floor under every such layer,
and what another may gain on it. Only the time counts: the tensors are random,
of the shapes that an operation takes without a copy.
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

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
        _sum_of_taps,
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
        _sum_of_taps,
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
        dw.append(Form(_kernel_gradients_of_blocks, (upstream, *inputs)))
    return _fastest_together([[[y], [dx], dw]], jit_compile=True)


def _plain(cell) -> list[list[Form]]:
    batch, steps, channels, taps = _sizes(cell)
    folds = [1]
    if channels < 8:
        folds.append(_SEGMENTS)
    y, dx, dw = [], [], []
    for fold in folds:
        shape = batch, max(1, steps // fold), channels * fold
        inputs, upstream = _random(*shape), _random(*shape)
        kernel = _random(taps, shape[2], 1)
        y.append(Form(_convolve, (inputs, kernel)))
        dx.append(Form(_convolve, (upstream, kernel)))
        for over in (_over_width, _over_height):
            dw.append(_with_options(over, (inputs, upstream), taps=taps))
    return [y, dx, dw]


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
                [Form(_convolve_phases, (each, kernel))]
                for each in (inputs, upstream)
            ]
        )
        gradients.append(
            [
                _with_options(
                    over, (inputs, upstream), phases=phases, taps=reach
                )
                for over in (
                    _over_width_of_phases,
                    _over_height_of_phases,
                    _over_height_of_images,
                )
            ]
        )
    choices = [[*y_and_dx, dw] for y_and_dx in outputs for dw in gradients]
    if channels < 8:
        # Segments of phases, as many as a plain signal has.
        choices.append(_plain(cell))
    return choices


def _strided(cell) -> list[list[Form]]:
    batch, steps, channels, taps = _sizes(cell)
    windows, stride = math.ceil(steps / cell.stride), cell.stride
    inputs = _random(batch, steps, channels)
    upstream = _random(batch, windows, channels)
    kernel = _random(taps, channels, 1)
    rows = math.ceil((taps + stride - 1) / stride)
    phases = _random(batch, windows, stride, channels)
    of_rows = _random(batch, max(1, windows - rows + 1), 1, channels)
    # Those of a stride as channels, which dy is repeated for.
    as_channels = [_random(batch, windows, stride * channels) for _ in range(3)]
    row_kernel = _random(rows, stride * channels, 1)
    return [
        [_with_options(_convolve, (inputs, kernel), stride=stride)],
        [
            _with_options(
                _input_gradient, (upstream, kernel), steps=steps, stride=stride
            ),
            Form(_convolve, (as_channels[0], row_kernel)),
        ],
        [
            _with_options(
                _over_width, (inputs, upstream), taps=taps, stride=stride
            ),
            _with_options(
                _filter_gradient,
                (phases, of_rows),
                size=[rows, stride],
                padding="VALID",
            ),
            _with_options(_over_height, tuple(as_channels[1:]), taps=rows),
        ],
    ]


def _multiplied(cell) -> list[list[Form]]:
    batch, steps, channels, taps = _sizes(cell)
    multiplier, outputs = cell.multiplier, cell.multiplier * channels
    inputs, upstream = (_random(batch, steps, n) for n in (channels, outputs))
    kernel, repeated = _random(taps, channels, multiplier), upstream + 1.0
    # Of one output for each channel, as often as there are.
    apart = [_random(batch, steps, channels) for _ in range(multiplier)]
    one = _random(taps, channels, 1)
    return [
        [
            Form(_convolve, (inputs, kernel)),
            Form(_convolve, (repeated, tf.reshape(kernel, [taps, outputs, 1]))),
        ],
        [
            Form(
                lambda one, *apart: [_convolve(each, one) for each in apart],
                (one, *apart),
            )
        ],
        [
            _with_options(_over_width, (inputs, upstream), taps=taps),
            Form(
                lambda inputs, *apart: [
                    _over_height(inputs, each, taps) for each in apart
                ],
                (inputs, *apart),
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
            index: timing.Repeated(_together(forms, jit_compile))
            for index, forms in enumerate(choices)
        },
        rounds=50,
        seconds=_SECONDS_TO_CHOOSE,
    )
    return choices[min(timings, key=lambda index: timings[index].median)]


def _together(forms: list[Form], jit_compile: bool) -> Callable[[], list]:
    """In one function, which takes each tensor once.

    So what two forms do alike with the same, such as padding, is done once.
    """
    tensors = {id(each): each for form in forms for each in form.tensors}

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run(tensors):
        return [
            form.function(*[tensors[str(id(each))] for each in form.tensors])
            for form in forms
        ]

    named = {str(name): each for name, each in tensors.items()}
    return lambda: run(named)


def _convolve(inputs, kernel, stride=1):
    return tf.nn.depthwise_conv2d(
        inputs[:, tf.newaxis],
        kernel[tf.newaxis],
        [1, stride, stride, 1],
        "SAME",
    )


def _convolve_phases(inputs, kernel):
    """Padded, and the padding cut off, only where there must be."""
    batch, steps, channels = inputs.shape
    rows = _rows(inputs, kernel.shape[1] // channels)
    outputs = _convolve(rows, kernel)
    outputs = tf.reshape(outputs, [batch, -1, channels])
    if outputs.shape[1] == steps:
        return outputs
    return tf.slice(outputs, [0, 0, 0], [-1, steps, -1])


def _rows(inputs, phases):
    """[b, t, c] -> [b, ceil(t / phases), phases * c]."""
    batch, steps, channels = inputs.shape
    if steps % phases:
        inputs = tf.pad(inputs, [[0, 0], [0, -steps % phases], [0, 0]])
    return tf.reshape(inputs, [batch, -1, phases * channels])


def _input_gradient(upstream, kernel, steps, stride):
    batch, _, channels = upstream.shape
    return tf.nn.depthwise_conv2d_backprop_input(
        [batch, 1, steps, channels],
        kernel[tf.newaxis],
        upstream[:, tf.newaxis],
        [1, stride, stride, 1],
        "SAME",
    )


def _over_width(inputs, upstream, taps, stride=1):
    return _filter_gradient(
        inputs[:, tf.newaxis], upstream[:, tf.newaxis], [1, taps], stride
    )


def _over_height(inputs, upstream, taps):
    return _filter_gradient(
        inputs[:, :, tf.newaxis], upstream[:, :, tf.newaxis], [taps, 1]
    )


def _over_width_of_phases(inputs, upstream, phases, taps):
    return _over_width(_rows(inputs, phases), _rows(upstream, phases), taps)


def _over_height_of_phases(inputs, upstream, phases, taps):
    return _over_height(_rows(inputs, phases), _rows(upstream, phases), taps)


def _over_height_of_images(inputs, upstream, phases, taps):
    """The phases as the width."""
    channels = inputs.shape[2]
    images = [
        tf.reshape(rows, [*rows.shape[:2], phases, channels])
        for rows in (_rows(inputs, phases), _rows(upstream, phases))
    ]
    return _filter_gradient(*images, size=[taps, 1])


def _filter_gradient(images, upstream, size, stride=1, padding="SAME"):
    channels = images.shape[3]
    return tf.nn.depthwise_conv2d_backprop_filter(
        images,
        [*size, channels, upstream.shape[3] // channels],
        upstream,
        [1, stride, stride, 1],
        padding,
    )


def _sum_of_taps(inputs, kernel, dilation=1, stride=1):
    taps = kernel.shape[0]
    frames = inputs.shape[1] - (taps - 1) * dilation
    shifted = [
        inputs[:, tap * dilation :][:, :frames:stride] for tap in range(taps)
    ]
    weights = tf.unstack(kernel)
    return _tree_sum([x * w for x, w in zip(shifted, weights, strict=True)])


def _kernel_gradients_of_blocks(upstream, *inputs):
    """Products are summed over the frames of a block, sums over the blocks."""
    size = upstream.shape[2]
    gradients = []
    for part in inputs:
        taps = part.shape[2] - size + 1
        products = [
            part[:, :, frame : frame + taps] * upstream[:, :, frame : frame + 1]
            for frame in range(size)
        ]
        of_examples = tf.reduce_sum(_tree_sum(products), axis=1)
        gradients.append(tf.reduce_sum(of_examples, axis=0))
    return gradients


def _with_options(function, tensors: tuple, **options) -> Form:
    return Form(lambda *tensors: function(*tensors, **options), tensors)


def _sizes(cell) -> tuple[int, int, int, int]:
    return cell.batch, cell.steps, cell.channels, cell.kernel_size


def _random(*shape: int) -> tf.Tensor:
    return tf.random.normal(shape)


def _tree_sum(terms: list[tf.Tensor]) -> tf.Tensor:
    while len(terms) > 1:
        odd = terms[len(terms) // 2 * 2 :]
        pairs = zip(terms[::2], terms[1::2], strict=False)
        terms = [a + b for a, b in pairs] + odd
    return terms[0]
