"""Batch normalizations as part of the layers before or after them.

TFLite's converter folds a BatchNormalization into the convolution right before
it. What it leaves are a multiplication and an addition, each with one scale for
the constants of all channels in an integer file: most of them are lost.
"""

import dataclasses

import keras
import numpy as np

from tfconv.conversion import clone_with
from tfconv.conversion import copy_of
from tfconv_export import affine
from tfconv_export import batch_normalization
from tfconv_export import weighted_layers
from tfconv_export.affine import Affine
from tfconv_export.batch_normalization import axis_of
from tfconv_export.batch_normalization import is_norm
from tfconv_export.layer_graph import LayerCall
from tfconv_export.layer_graph import LayerGraph

# A call of a layer, and the layer's new weights or what a norm then computes.
_Change = tuple[LayerCall, list[np.ndarray] | Affine]


@dataclasses.dataclass(frozen=True)
class Fold:
    """A batch normalization that became part of other layers.

    Attributes:
        norm: string, the path of the layer.
        into: strings, the paths of those it is part of.
    """

    norm: str
    into: tuple[str, ...]

    def __str__(self):
        return f"{self.norm} into {' and '.join(self.into)}"


def fold(model: keras.Model) -> tuple[keras.Model, tuple[Fold, ...]]:
    """The model, with batch normalizations as part of other layers.

    In inference mode one is a scale and a shift for each channel. Both go into
    the layer before it if that has no activation. If it has a ReLU, the
    absolute value of the scale does: quantized weights have a scale for each
    output channel, and so the channels come to like ranges. What is left goes
    into all layers that read it; past layers that change nothing (Dropout),
    that choose or average within a channel (pooling, cropping), or that move
    values (Flatten, Concatenate). Where that is not exact the layer stays, to
    do what is left: between two activations, in front of an addition, of the
    model's end or of zeros that are padded, or if a negative scale meets a
    maximum.

    Args:
        model: a functional or Sequential model; nested ones are looked into.

    Returns:
        `(model, folds)`: a model that computes the same in inference mode, to
        float32 rounding, with an `Identity` of the same name in the place of
        what was folded; `model` itself if nothing changed.
    """
    folder = _Folder(LayerGraph(model))
    folder.run()
    if not folder.has_changed:
        return model, ()
    folded = clone_with(model, folder.clone, folder.weights_of)
    return folded, tuple(folder.folds)


def is_by_converter(graph: LayerGraph, call: LayerCall) -> bool | None:
    """Tells whether the converter itself folds a batch normalization.

    Args:
        graph: the graph of the model.
        call: one of its calls, of a BatchNormalization.

    Returns:
        bool, or `None` where it depends on what a layer of another class does.
    """
    if axis_of(call.layer) != len(call.input_shapes[0]) - 1:
        return False
    for before in graph.before(call):
        layer = before.layer
        if affine.is_identity(layer) or is_norm(layer):
            continue
        return weighted_layers.is_linear_in_last_axis(layer)
    return False


class _Folder:
    """Moves one batch normalization after the other.

    Attributes:
        folds: list of `Fold`, what was done.
    """

    def __init__(self, graph: LayerGraph):
        self.folds = []
        self._graph = graph
        # By the `id` of a layer: its weights, or what it is to compute.
        self._changed = {}
        self._removed = set()

    @property
    def has_changed(self) -> bool:
        return bool(self._changed)

    def run(self) -> None:
        for call in self._graph.calls:
            if (
                is_norm(call.layer)
                and self._is_alone(call)
                and not is_by_converter(self._graph, call)
            ):
                self._fold(call)

    def clone(self, layer: keras.Layer) -> keras.Layer:
        """Makes the layer that takes the place of one."""
        if id(layer) in self._removed:
            return keras.layers.Identity(name=layer.name)
        changes = {}
        if id(layer) in self._changed:
            ends = ("scale", "center") if is_norm(layer) else ("use_bias",)
            changes = dict.fromkeys(ends, True)
        return copy_of(layer, **changes)

    def weights_of(self, layer: keras.Layer) -> list[np.ndarray]:
        """Gives the weights of the layer that takes its place."""
        if id(layer) in self._removed:
            return []
        changed = self._changed.get(id(layer))
        if isinstance(changed, Affine):
            return batch_normalization.weights_for(layer, changed)
        return layer.get_weights() if changed is None else changed

    def _is_alone(self, call: LayerCall) -> bool:
        return call.is_plain and self._graph.counts[id(call.layer)] == 1

    def _now(self, layer: keras.Layer) -> list[np.ndarray] | Affine:
        """Gives a layer's weights by now, or what a norm is to compute."""
        if id(layer) in self._changed:
            return self._changed[id(layer)]
        if is_norm(layer):
            return batch_normalization.affine_of(layer)
        return weighted_layers.weights_of(layer)

    def _fold(self, call: LayerCall) -> None:
        wanted = self._now(call.layer)
        changes = self._backward(call, wanted)
        is_gone = bool(changes)
        if not is_gone:
            size, rest = wanted.parted()
            changes = self._backward(call, size)
            after = self._forward(call, rest if changes else wanted)
            is_gone = bool(after)
            if changes and not is_gone:
                after = [(call, rest)]
            changes += after
        if not all(_is_finite(change) for _, change in changes):
            return  # Scales may be too large for float32.
        self._changed |= {id(at.layer): change for at, change in changes}
        if is_gone:
            self._removed.add(id(call.layer))
            into = tuple(at.path for at, _ in changes)
            self.folds.append(Fold(call.path, into))

    def _backward(self, call: LayerCall, wanted: Affine) -> list[_Change]:
        """The change of the layer before; none if that fails."""
        axis = axis_of(call.layer) - 1
        wanted = wanted.along(axis)
        for before in self._graph.before(call):
            layer = before.layer
            if id(layer) in self._removed:
                continue
            if not weighted_layers.is_weighted(layer):
                if not before.is_plain or not affine.commutes(layer, wanted):
                    break
                if affine.is_elementwise(layer):
                    continue
            own_axis = affine.channel_axis(layer)
            if own_axis % (len(before.output_shapes[0]) - 1) != axis:
                break
            if weighted_layers.is_weighted(layer):
                if not self._is_alone(before) or not affine.commutes(
                    layer.activation, wanted
                ):
                    break
                weights = weighted_layers.given_out(self._now(layer), wanted)
                return [(before, weights)]
            axis = own_axis % (len(before.input_shapes[0]) - 1)
        return []

    def _forward(self, call: LayerCall, wanted: Affine) -> list[_Change]:
        """The changes of all layers after it; none if that fails."""
        (made,) = call.outputs
        # What is still to be done to tensors.
        held, changes = {made: wanted}, []
        for after in self._graph.calls:
            given = [held.get(tensor) for tensor in after.inputs]
            if not any(given):
                continue
            if not after.is_plain:
                return []
            if len(given) > 1:
                rest = affine.concatenated(after, given)
            else:
                rest = affine.passed(after, given[0])
                change = None if rest else self._taken_in(after, given[0])
                if change is not None:
                    changes.append((after, change))
                    continue
            if rest is None:
                return []
            held[after.outputs[0]] = rest
        return [] if held.keys() & set(self._graph.outputs) else changes

    def _taken_in(self, call: LayerCall, given: Affine):
        layer = call.layer
        if not self._is_alone(call):
            return None
        if is_norm(layer):
            is_alike = given.along(axis_of(layer) - 1)
            return self._now(layer).after(given) if is_alike else None
        if weighted_layers.is_weighted(layer):
            return weighted_layers.taken_in(call, self._now(layer), given)
        return None


def _is_finite(change: list[np.ndarray] | Affine) -> bool:
    arrays = change
    if isinstance(change, Affine):
        arrays = [change.scale, change.shift]
    with np.errstate(over="ignore"):
        return all(np.isfinite(np.float32(array)).all() for array in arrays)
