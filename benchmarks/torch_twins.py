"""The same convolution and the same networks in PyTorch, channels first."""

# ruff: noqa: E402, since PyTorch comes after what it reads.

import os
import sys

# PyTorch reads it when it is imported. By default its threads spin while they
# wait, and take the cores from TensorFlow's, and from each other if anything
# else runs: steps of 20 ms then last seconds.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# PyTorch imports Triton for its optimizers, whether or not it compiles
# anything; beside TensorFlow that is a segmentation fault (Triton 3.8). So it
# finds none, as where none is installed.
sys.modules.setdefault("triton", None)

import itertools
import time
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import machine
from benchmarks import networks

torch.set_num_threads(machine.cores())


def depthwise_variant(cell, data) -> Callable[[], list[torch.Tensor]]:
    """A function that returns y, or y, dx and dw; see `op_benchmark`."""
    pads = cell.geometry.pads(cell.steps)
    inputs = _channels_first(data.inputs)
    kernel = _grouped(data.kernel)
    upstream = _channels_first(data.upstream)
    gradients = cell.computes != "y"
    inputs.requires_grad_(gradients)
    kernel.requires_grad_(gradients)

    def convolve():
        return _convolve(
            inputs, kernel, pads, cell.stride, cell.dilation, cell.channels
        )

    def outputs_and_gradients():
        outputs = convolve()
        return [
            outputs,
            *torch.autograd.grad(outputs, [inputs, kernel], upstream),
        ]

    return outputs_and_gradients if gradients else lambda: [convolve()]


def channels_last(tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
    """y, dx and dw in TensorFlow's layouts."""
    arrays = [tensor.detach().numpy() for tensor in tensors]
    signals = [array.transpose(0, 2, 1) for array in arrays[:2]]
    if len(arrays) < 3:
        return signals
    channels = arrays[1].shape[1]
    outputs, _, taps = arrays[2].shape
    kernel = arrays[2].reshape(channels, outputs // channels, taps)
    return [*signals, kernel.transpose(2, 0, 1)]


def _channels_first(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 2, 1)))


def _grouped(kernel: np.ndarray) -> torch.Tensor:
    taps, channels, multiplier = kernel.shape
    kernel = kernel.transpose(1, 2, 0).reshape(channels * multiplier, 1, taps)
    return torch.from_numpy(np.ascontiguousarray(kernel))


def _convolve(inputs, kernel, pads, stride, dilation, groups) -> torch.Tensor:
    left, right = pads
    if left != right:
        inputs, left = functional.pad(inputs, (left, right)), 0
    return functional.conv1d(
        inputs,
        kernel,
        padding=left,
        stride=stride,
        dilation=dilation,
        groups=groups,
    )


def build(network: str, channels: int, kernel_size: int) -> nn.Module:
    """The twin of one of `networks.NETWORKS`."""
    return _NETWORKS[network](channels, kernel_size)


class Trainer:
    """Trains eagerly; each call returns the seconds of one step."""

    def __init__(self, cell, x: np.ndarray, y: np.ndarray):
        """Takes a `training.Cell` and all examples of a call."""
        self._model = build(cell.network, cell.channels, cell.kernel_size)
        self._optimizer = torch.optim.SGD(self._model.parameters(), 0.01)
        self._batches = list(
            zip(
                _channels_first(x).split(cell.batch),
                torch.from_numpy(y).split(cell.batch),
                strict=True,
            )
        )
        self._count = 1

    def __call__(self) -> float:
        batches = self._batches[: self._count]
        start = time.perf_counter()
        for x, y in batches:
            self._optimizer.zero_grad()
            loss = functional.cross_entropy(self._model(x), y)
            loss.backward()
            self._optimizer.step()
            # Keras shows its users the loss of each step.
            loss.item()
        seconds = time.perf_counter() - start
        self._count = len(self._batches)
        return seconds / len(batches)


class _Separable(nn.Module):
    def __init__(
        self,
        channels,
        filters,
        taps,
        stride=1,
        dilation=1,
        causal=False,
        bias=False,
    ):
        super().__init__()
        zeros = dilation * (taps - 1)
        left = zeros if causal else zeros // 2
        self._pads = (left, zeros - left)
        self._even = self._pads[0] == self._pads[1]
        self.depthwise = nn.Conv1d(
            channels,
            channels,
            taps,
            stride=stride,
            padding=left if self._even else 0,
            dilation=dilation,
            groups=channels,
            bias=False,
        )
        self.pointwise = nn.Conv1d(channels, filters, 1, bias=bias)

    def forward(self, x):
        if not self._even:
            x = functional.pad(x, self._pads)
        return self.pointwise(self.depthwise(x))


class _Residual(nn.Module):
    def __init__(self, channels, filters, taps):
        super().__init__()
        self.body = nn.Sequential(
            _Separable(channels, filters, taps, stride=2),
            nn.BatchNorm1d(filters),
            nn.ReLU(),
            _Separable(filters, filters, taps),
            nn.BatchNorm1d(filters),
        )
        self.shortcut = nn.Sequential(
            nn.Conv1d(channels, filters, 1, stride=2, bias=False),
            nn.BatchNorm1d(filters),
            nn.ReLU(),
        )

    def forward(self, x):
        return functional.relu(self.body(x) + self.shortcut(x))


class _Gated(nn.Module):
    def __init__(self, channels, taps, dilation):
        super().__init__()
        self.value, self.gate = (
            _Separable(
                channels,
                channels,
                taps,
                dilation=dilation,
                causal=True,
                bias=True,
            )
            for _ in range(2)
        )
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x):
        return self.mix(torch.tanh(self.value(x)) * torch.sigmoid(self.gate(x)))


class _WaveNet(nn.Module):
    def __init__(self, channels, taps):
        super().__init__()
        self.begin = nn.Conv1d(channels, networks.FILTERS, 1)
        self.blocks = nn.ModuleList(
            _Gated(networks.FILTERS, taps, dilation)
            for dilation in networks.WAVENET_DILATIONS
        )

    def forward(self, x):
        x = self.begin(x)
        skips = []
        for block in self.blocks:
            skips.append(block(x))
            x = x + skips[-1]
        return functional.relu(sum(skips))


def _ds_cnn(channels, taps):
    blocks = []
    for width in [channels, *[networks.FILTERS] * 3]:
        blocks += [
            _Separable(width, networks.FILTERS, taps),
            nn.BatchNorm1d(networks.FILTERS),
            nn.ReLU(),
        ]
    return nn.Sequential(*blocks)


def _tc_resnet(channels, taps):
    widths = [channels, *networks.TC_RESNET_FILTERS]
    return nn.Sequential(
        *(
            _Residual(width, filters, taps)
            for width, filters in itertools.pairwise(widths)
        )
    )


def _whole(body):
    def build(channels, taps):
        stem = []
        if channels == 1:
            channels = networks.FILTERS
            stem = [
                nn.Conv1d(
                    1,
                    channels,
                    networks.STEM_KERNEL_SIZE,
                    stride=networks.STEM_STRIDES,
                    padding=networks.STEM_STRIDES // 2,
                    bias=False,
                ),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
            ]
        return nn.Sequential(
            *stem,
            body(channels, taps),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(networks.FILTERS, networks.CLASSES),
        )

    return build


_NETWORKS = {
    "ds_cnn": _whole(_ds_cnn),
    "tc_resnet": _whole(_tc_resnet),
    "wavenet": _whole(_WaveNet),
}
