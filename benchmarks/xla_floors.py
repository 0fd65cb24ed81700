"""The forms of y, dx and dw under XLA, for floors.py."""

import itertools
import math

from benchmarks import xla_forms
from benchmarks.fastest import Form
from benchmarks.fastest import Parts
from benchmarks.fastest import random
from benchmarks.fastest import shared
from benchmarks.fastest import with_options
from benchmarks.products import with_products

# Frames of a block of dw: at least as many as taps, and at most so many taps at
# once. Of one example parts of the taps may be faster, whose blocks are shorter
# and more: of few blocks XLA makes one slow loop with their reduction.
_FRAMES = (12, 32)
_MOST_TAPS = 64
_WAYS_TO_PART_ONE_EXAMPLE = 3


def choices(cell) -> list[Parts]:
    inputs, upstream = _tensors(cell)
    stride, dilation = cell.stride, cell.dilation
    y = _sums_of_taps(cell, inputs, dilation=dilation, stride=stride)
    if stride > 1:
        rows = math.ceil(cell.kernel_size / stride)
        kernel = random(rows, stride, cell.channels)
        dx = [
            Form(form, (upstream, kernel))
            for form in (
                xla_forms.input_gradient_of_rows,
                xla_forms.input_gradient_of_phases,
            )
        ]
    else:
        dx = _sums_of_taps(cell, upstream, dilation=dilation)
    dw = _kernel_gradients(cell, inputs, upstream)
    return [with_products(cell, [y, dx, dw])]


def multiplied(cell) -> Parts:
    """Each output with its own kernel, and their gradients side by side."""
    inputs, upstream = _tensors(cell)
    taps, channels = cell.kernel_size, cell.channels
    multiplier = cell.multiplier
    y = with_options(
        xla_forms.sums_of_taps,
        (inputs, random(taps, channels, multiplier)),
        dilation=cell.dilation,
        stride=cell.stride,
    )
    dx = []
    if cell.stride == 1:
        kernel = random(taps, channels, multiplier)
        dx = [
            with_options(form, (upstream, kernel), dilation=cell.dilation)
            for form in (
                xla_forms.sum_of_all_taps_and_outputs,
                xla_forms.sum_of_taps_side_by_side,
            )
        ]
    if channels == cell.stride == cell.dilation == 1:
        # As of one signal of all outputs.
        kernel = random(taps * multiplier, 1)
        dx.append(
            with_options(
                xla_forms.sum_of_taps_of_all_outputs,
                (upstream, kernel),
                multiplier=multiplier,
            )
        )
    return with_products(cell, [[y], dx, []])


def _tensors(cell):
    """Inputs and gradients of outputs."""
    batch, steps, channels, _ = cell.sizes
    windows = math.ceil(steps / cell.stride)
    return (
        shared("inputs", batch, steps, channels),
        shared("upstream", batch, windows, channels * cell.multiplier),
    )


def _sums_of_taps(cell, inputs, **options) -> list[Form]:
    """With the frames between two taps where they are, and as channels."""
    taps, channels, dilation = cell.kernel_size, cell.channels, cell.dilation
    ways = [xla_forms.sum_of_taps_of_padded]
    if cell.steps >= taps * dilation:
        ways.append(xla_forms.sum_of_taps_in_parts)
    tensors = inputs, random(taps, channels)
    found = [with_options(way, tensors, **options) for way in ways]
    if dilation > 1:
        tensors = inputs, random(taps, channels * dilation)
        found += [
            with_options(xla_forms.of_rows, tensors, size=dilation, form=way)
            for way in ways
        ]
    return found


def _kernel_gradients(cell, inputs, upstream) -> list[Form]:
    """With the frames between two taps as channels, and as examples.

    The phases of a stride are channels.
    """
    taps = math.ceil(cell.kernel_size / cell.stride)
    fold = cell.stride * cell.dilation
    rows = math.ceil(cell.steps / fold)
    fewest = math.ceil(taps / _MOST_TAPS)
    ways = _WAYS_TO_PART_ONE_EXAMPLE if cell.batch == 1 else 1
    found = []
    for frames, runs in itertools.product(
        _FRAMES, range(fewest, fewest + ways)
    ):
        at_once = max(1, taps // runs)
        blocks = max(1, rows // max(frames, at_once))
        size = max(at_once, math.ceil(rows / blocks))
        forms = [xla_forms.kernel_gradients_of_padded]
        if rows > 2 * (taps + size):
            forms.append(xla_forms.kernel_gradients_in_parts)
        found += [
            with_options(
                xla_forms.kernel_gradients_of_rows,
                (inputs, upstream),
                form=form,
                folds=(fold, cell.dilation),
                as_examples=as_examples,
                taps=taps,
                size=size,
                runs=runs,
            )
            for form in forms
            for as_examples in ([False, True] if cell.dilation > 1 else [False])
        ]
    return found
