"""Channels of one tensor brought to like ranges, without changing the model.

An activation has one scale for all its channels: where one of them is 100
times wider than the others, those keep a step or two of int8. As
`relu(x / s) = relu(x) / s` for `s > 0`, what comes before can be divided by a
factor per channel, and what comes after multiplied by it ("cross-layer
equalization", Nagel et al. 2019, https://arxiv.org/abs/1906.04721).
"""

import dataclasses
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

import tfconv
from tfconv.conversion import clone_with
from tfconv.conversion import copy_of
from tfconv_export import affine
from tfconv_export import keras_source
from tfconv_export.affine import Affine
from tfconv_export.calibration import Examples
from tfconv_export.errors import UsageError
from tfconv_export.layer_graph import LayerCall
from tfconv_export.layer_graph import LayerGraph
from tfconv_export.source import Source

_DEPTHWISE = (tfconv.DepthwiseConv1D, keras.layers.DepthwiseConv1D)
_SEPARABLE = (tfconv.SeparableConv1D, keras.layers.SeparableConv1D)
_DENSE = (keras.layers.Conv1D, keras.layers.Dense)

# What every layer lets pass that keeps positive factors of channels.
_FACTORS = Affine(np.ones(1), np.zeros(1))

# Below this ratio there is nothing to gain.
_MIN_SPREAD = 2.0

# No factor is farther than this from the middle: float32 is no problem then.
_MAX_FACTOR = 1e4

_MAX_EXAMPLES = 200


@dataclasses.dataclass(frozen=True)
class Equalized:
    """A tensor whose channels were brought to like ranges.

    Attributes:
        producer: string, the name of the layer that was divided.
        consumer: string, of the one that was multiplied; the same one for
            what is inside of a separable convolution.
        spread: float, the largest factor by the smallest.
    """

    producer: str
    consumer: str
    spread: float


def equalized(
    source: Source, examples: Examples | None
) -> tuple[Source, tuple[Equalized, ...]]:
    """The source, with the channels of `exported` brought to like ranges.

    Its `reference` stays the model as it was trained.

    Args:
        source: a functional or Sequential Keras model.
        examples: from which to take the ranges; from the weights if `None`.

    Raises:
        UsageError: if the layers of the model are not known.
    """
    model = source.trackable
    if source.kind != "keras" or not _is_graph(model):
        what = source.without_layers or "subclassed model"
        raise UsageError(
            f"--equalize is not possible with {source.origin}: which layer "
            f"follows which is not known of a {what}; it needs a functional "
            "or Sequential Keras model."
        )
    batches = None
    if examples is not None:
        names = [item.name for item in source.inputs]
        batches = (
            [example[name] for name in names]
            for example in examples.sample(_MAX_EXAMPLES)
        )
    model, changes = equalize(model, batches)
    if not changes:
        return source, ()
    return keras_source.with_exported(source, model), changes


def equalize(
    model: keras.Model, batches: Iterable[list[np.ndarray]] | None = None
) -> tuple[keras.Model, tuple[Equalized, ...]]:
    """The same function, with like ranges of the channels of its tensors.

    Changed are the tensors between two layers with weights, if each has but
    this one consumer, if no layer of the two is called twice, and if between
    them stand only layers that are positively homogeneous and keep channels
    apart: ReLU and LeakyReLU (not ReLU6), batch normalization (which is then
    the one divided), pooling, padding, dropout. And those between the two
    kernels of a separable convolution. What is inside of nested models stays.

    Args:
        model: a functional or Sequential model; it is left as it is.
        batches: inputs from which to take the ranges, each a list of arrays
            in the order of `model.inputs`. `None`: estimated from the weights.

    Returns:
        `(model, changes)`: a model that computes the same to float32
        rounding, and what was changed; `model` itself if nothing was.

    Raises:
        UsageError: if `model` is neither functional nor Sequential.
    """
    if not _is_graph(model):
        raise UsageError(
            f"The model {model.name} cannot be equalized: it is not "
            "functional or Sequential, so which layer follows which is not "
            "known."
        )
    result = clone_with(model, copy_of)
    # Looking for ranges adds to the graph: the result's stays as it is.
    probed = clone_with(result, copy_of)
    sites, probed_sites = _sites(result), _sites(probed)
    if batches is None:
        ranges = [_estimated_range(site) for site in sites]
    else:
        ranges = _measured_ranges(probed, probed_sites, batches)
    changes = []
    for site, width in zip(sites, ranges, strict=True):
        factors = _factors(width, site.importance())
        spread = float(factors.max() / factors.min())
        if spread < _MIN_SPREAD:
            continue
        site.divide(1 / factors)
        changes.append(
            Equalized(site.producer.name, site.consumer.name, spread)
        )
    return (result, tuple(changes)) if changes else (model, ())


def _is_graph(model) -> bool:
    if isinstance(model, keras.Sequential):
        return model.built
    return isinstance(model, keras.Model) and hasattr(model, "operations")


@dataclasses.dataclass(frozen=True)
class _Site:
    """Where factors can be moved, from one kernel to the next.

    Attributes:
        producer: a layer whose output channels can be divided.
        consumer: the next with weights; the producer itself for what is
            between the two kernels of a separable convolution.
        tensor: what the consumer takes.
    """

    producer: keras.Layer
    consumer: keras.Layer
    tensor: keras.KerasTensor

    @property
    def is_inside(self) -> bool:
        return self.producer is self.consumer

    def divide(self, shares: np.ndarray) -> None:
        """Output times `shares`, and what takes it by `1 / shares`."""
        if self.is_inside:
            kernel = self.producer.depthwise_kernel
            _scale(kernel, shares.reshape(kernel.shape[1:]))
            _scale(self.producer.pointwise_kernel, 1 / shares[:, np.newaxis])
            return
        for weight in _output_weights(self.producer):
            is_depthwise = isinstance(self.producer, _DEPTHWISE)
            if is_depthwise and len(weight.shape) == 3:
                # Output channel c*m + i is [:, c, i].
                _scale(weight, shares.reshape(weight.shape[1:]))
            else:
                _scale(weight, shares)
        if _is_unscaled_norm(self.producer):
            norm = self.producer
            variance = np.float64(norm.moving_variance) + norm.epsilon
            norm.moving_variance.assign(variance / shares**2 - norm.epsilon)
        _scale(_input_kernel(self.consumer), 1 / shares[:, np.newaxis])

    def importance(self) -> np.ndarray:
        """How large each input channel's weights are, by those of an output.

        1 where every channel's weights have a scale of their own.
        """
        if self.is_inside:
            kernel = np.float64(self.producer.pointwise_kernel)
        elif isinstance(self.consumer, _DENSE):
            kernel = np.float64(_input_kernel(self.consumer))
        else:
            return np.ones(self.tensor.shape[-1])
        kernel = np.abs(kernel.reshape(-1, *kernel.shape[-2:])).max(axis=0)
        largest = kernel.max(axis=0)
        return (kernel / np.where(largest == 0, 1.0, largest)).max(axis=1)


def _scale(weight, shares: np.ndarray) -> None:
    weight.assign(np.float64(weight) * shares)


def _is_unscaled_norm(layer: keras.Layer) -> bool:
    is_norm = isinstance(layer, keras.layers.BatchNormalization)
    return is_norm and not layer.scale


def _output_weights(layer: keras.Layer) -> list:
    if isinstance(layer, keras.layers.BatchNormalization):
        has = [(layer.scale, "gamma"), (layer.center, "beta")]
    else:
        is_separable = isinstance(layer, _SEPARABLE)
        kernel = "pointwise_kernel" if is_separable else "kernel"
        has = [(True, kernel), (layer.use_bias, "bias")]
    return [getattr(layer, name) for there, name in has if there]


def _input_kernel(layer: keras.Layer):
    if isinstance(layer, _SEPARABLE):
        return layer.depthwise_kernel
    return layer.kernel


def _factors(width: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """What to divide the channels by; their geometric mean is 1.

    With widths `a` and weights `w` of the channels, the noise of the
    activations grows with the largest `a / s` and that of the weights with
    the largest `w * s`: `s = sqrt(a / w)` is as good for the one as for the
    other. Where the weights have scales of their own it is `a`.
    """
    factors = np.ones(width.size)
    live = (width > 0) & (importance > 0)
    if not live.any():
        return factors
    is_free = (importance == 1).all()
    ratio = width[live] / importance[live]
    logs = np.log(ratio if is_free else np.sqrt(ratio))
    limit = np.log(_MAX_FACTOR)
    factors[live] = np.exp(np.clip(logs - logs.mean(), -limit, limit))
    return factors


def _sites(model: keras.Model) -> list[_Site]:
    """All places, from the inputs to the outputs."""
    # Of this model only: a layer may be in others, too.
    graph, sites = LayerGraph(model, nested=False), []
    for call in graph.calls:
        layer = call.layer
        if graph.counts[id(layer)] > 1 or not _is_consumer(layer):
            continue
        tensor = graph.tensors[call.inputs[0]]
        producer = _producer_before(graph, call)
        if producer is not None:
            sites.append(_Site(producer, layer, tensor))
        if isinstance(layer, _SEPARABLE):
            sites.append(_Site(layer, layer, tensor))
    return sites


def _producer_before(graph: LayerGraph, call: LayerCall) -> keras.Layer | None:
    for before in graph.before(call):
        layer = before.layer
        if graph.counts[id(layer)] > 1:
            return None
        if _is_producer(layer):
            return layer
        if not _keeps_channels(layer):
            return None
    return None


def _is_consumer(layer) -> bool:
    # Not a subclass: that may do anything with its weights.
    if type(layer) not in _DEPTHWISE + _SEPARABLE + _DENSE:
        return False
    return (
        _is_channels_last(layer)
        and getattr(layer, "groups", 1) == 1
        and not getattr(layer, "lora_enabled", False)
    )


def _is_producer(layer) -> bool:
    if type(layer) is keras.layers.BatchNormalization:
        return layer.axis in (-1, layer.input.ndim - 1)
    return _is_consumer(layer) and affine.commutes(layer.activation, _FACTORS)


def _keeps_channels(layer) -> bool:
    return affine.commutes(layer, _FACTORS) and _is_channels_last(layer)


def _is_channels_last(layer) -> bool:
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _depthwise_of(layer: keras.Layer) -> keras.Layer:
    """The first half of a separable convolution."""
    twin = tfconv.DepthwiseConv1D(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        depth_multiplier=layer.depth_multiplier,
        use_bias=False,
    )
    twin.build(layer.input.shape)
    twin.set_weights([layer.depthwise_kernel])
    return twin


def _measured_ranges(model, sites, batches) -> list[np.ndarray]:
    """The largest absolute value of each channel, for each site."""
    if not sites:
        return []
    widths = []
    for site in sites:
        tensor = site.tensor
        if site.is_inside:
            tensor = _depthwise_of(site.producer)(tensor)
        rest = tuple(range(tensor.ndim - 1))
        widths.append(keras.ops.max(keras.ops.abs(tensor), axis=rest))
    probe = tf.function(keras.Model(model.inputs, widths), autograph=False)
    largest = [0.0] * len(sites)
    for batch in batches:
        found = probe([tf.constant(array) for array in batch], training=False)
        largest = [
            np.maximum(known, np.float64(new))
            # Of one output there is no list.
            for known, new in zip(
                largest, keras.tree.flatten(found), strict=True
            )
        ]
    return largest


def _estimated_range(site: _Site) -> np.ndarray:
    """About the largest absolute value, if what comes in is about 1."""
    layer = site.producer
    if isinstance(layer, keras.layers.BatchNormalization):
        channels = layer.moving_variance.shape[0]
        gamma = np.float64(layer.gamma) if layer.scale else np.ones(channels)
        beta = np.float64(layer.beta) if layer.center else 0.0
        return 3 * np.abs(gamma) + np.abs(beta)
    if site.is_inside or isinstance(layer, _DEPTHWISE):
        kernel = np.float64(
            layer.depthwise_kernel if site.is_inside else layer.kernel
        )
        kernel = kernel.reshape(len(kernel), -1)
    else:
        kernel = np.float64(_output_weights(layer)[0])
        kernel = kernel.reshape(-1, kernel.shape[-1])
    width = np.abs(kernel).sum(axis=0)
    if layer.use_bias and not site.is_inside:
        width = width + np.abs(np.float64(layer.bias))
    return width
