"""The fastest of several forms of a computation, found by running them."""

import dataclasses
import functools
from collections.abc import Callable

import tensorflow as tf

from benchmarks import timing

# Enough to tell forms apart that differ.
_SECONDS_TO_CHOOSE = 0.2


@dataclasses.dataclass(frozen=True)
class Form:
    """A function, and the tensors that it is called with.

    Of y and dx these are inputs, or gradients of outputs, and a kernel; of dw,
    inputs and then gradients of outputs.
    """

    function: Callable
    tensors: tuple[tf.Tensor, ...]


# The forms of y, of dx and of dw.
Parts = list[list[Form]]


def with_options(function, tensors: tuple, **options) -> Form:
    return Form(lambda *tensors: function(*tensors, **options), tensors)


def random(*shape: int) -> tf.Tensor:
    return tf.random.normal(shape)


@functools.lru_cache(maxsize=16)
def shared(role: str, *shape: int) -> tf.Tensor:
    """The same tensor for the same, such as inputs for y and dw."""
    return random(*shape)


def together(choices: list[Parts], jit_compile: bool) -> Callable[[], list]:
    """The fastest choice, of the fastest form of each of its parts.

    Returns:
        A function that runs them in one `tf.function`.
    """
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
