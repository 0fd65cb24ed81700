"""Training runs of a network, timed step by step."""

import dataclasses
import time

import keras
import numpy as np

import tfconv
from benchmarks import networks

LAYERS = {
    "tfconv": tfconv,
    "keras": keras.layers,
    "floor": tfconv,
}
VARIANTS = (
    "tfconv",
    "keras",
    "tfconv_jit",
    "keras_jit",
    "floor",
    "floor_jit",
    "torch",
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One network on inputs of shape `(batch, steps, channels)`."""

    network: str
    kernel_size: int
    batch: int
    steps: int
    channels: int


def make_trainer(cell: Cell, variant: str, train_steps: int):
    """A function that trains, and returns the seconds of one step.

    Args:
        cell: what to train.
        variant: one of `VARIANTS`; "floor": with kernels of one tap.
        train_steps: int, how many steps each call makes; the first makes one.
    """
    random = np.random.default_rng(0)
    examples = train_steps * cell.batch
    shape = (examples, cell.steps, cell.channels)
    x = random.standard_normal(shape, dtype=np.float32)
    y = random.integers(networks.CLASSES, size=examples)
    if variant == "torch":
        from benchmarks import torch_twins

        return torch_twins.Trainer(cell, x, y)
    layers = variant.removesuffix("_jit")
    model = networks.NETWORKS[cell.network](
        (cell.steps, cell.channels),
        1 if layers == "floor" else cell.kernel_size,
        LAYERS[layers],
    )
    model.compile(
        keras.optimizers.SGD(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=variant.endswith("_jit"),
    )
    return _KerasTrainer(model, x, y, cell.batch)


class _KerasTrainer:
    def __init__(self, model, x, y, batch: int):
        self._model = model
        self._x = x
        self._y = y
        self._batch = batch
        self._examples = batch

    def __call__(self) -> float:
        stopwatch = _Stopwatch()
        self._model.fit(
            self._x[: self._examples],
            self._y[: self._examples],
            batch_size=self._batch,
            shuffle=False,
            verbose=0,
            callbacks=[stopwatch],
        )
        self._examples = len(self._x)
        return stopwatch.seconds / stopwatch.steps


class _Stopwatch(keras.callbacks.Callback):
    """From the start of an epoch's first step to the end of its last."""

    def __init__(self):
        super().__init__()
        self.steps = 0
        self.seconds = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        if not self.steps:
            self._start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.seconds = time.perf_counter() - self._start
