"""SavedModels as sources: a signature, called as it is."""

import itertools
import pathlib

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfconv_export import bounded
from tfconv_export import saved_model_operations
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason
from tfconv_export.source import Input
from tfconv_export.source import Source
from tfconv_export.source import unique


def from_directory(
    path: pathlib.Path, signature: str | None, unsafe_deserialization: bool
) -> Source:
    """Loads a SavedModel.

    Args:
        path: of the directory.
        signature: string, which signature; by default `serving_default`, or
            the only one.
        unsafe_deserialization: whether it may hold operations that do more
            than compute, of which loading runs some.

    Raises:
        UsageError: if it cannot be loaded, would do more than compute, or has
            no such signature.
    """
    if not (path / "saved_model.pb").is_file():
        raise UsageError(
            f"--model={path} is a directory, but not a SavedModel: it holds "
            "no saved_model.pb."
        )
    saved = read(path)
    if not unsafe_deserialization:
        saved_model_operations.check(saved, path)
    try:
        loaded = tf.saved_model.load(str(path))
        signatures = loaded.signatures
    except Exception as error:
        raise UsageError(
            f"--model={path} cannot be loaded: {reason(error)}."
        ) from error
    name = _choose(signatures, signature, path)
    function = signatures[name]
    specs = function.structured_input_signature[1]
    if not specs:
        raise UsageError(
            f"The signature {name} of --model={path} has no inputs; choose "
            "another with --signature."
        )
    for key, spec in specs.items():
        if not spec.shape.rank or spec.shape[0] not in (None, 1):
            raise UsageError(
                f"The input {key} of --model={path} has shape {spec.shape};"
                " its first dimension must be the batch, open or 1."
            )
    names = dict(zip(unique(specs), specs, strict=True))

    def call(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return function(**{key: inputs[name] for name, key in names.items()})

    return Source(
        origin=str(path),
        kind="saved_model",
        size=sum(f.stat().st_size for f in path.rglob("*") if f.is_file()),
        inputs=tuple(
            Input(name, tuple(specs[key].shape[1:]), specs[key].dtype)
            for name, key in names.items()
        ),
        reference=call,
        exported=call,
        trackable=loaded,
    )


def read(path: pathlib.Path) -> saved_model_pb2.SavedModel:
    """Reads the file of a SavedModel, if the machine can hold it.

    Raises:
        UsageError: if it is damaged, or larger, or another of the directory's
            files is none.
    """
    for item in path.rglob("*"):
        if item.exists() and not item.is_dir():
            bounded.check_regular(item, f"--model={path}: {item}")
    content = bounded.read(path / "saved_model.pb", f"--model={path}")
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(content)
    except Exception as error:  # of protobuf
        raise UsageError(
            f"--model={path} cannot be loaded: its saved_model.pb is damaged: "
            f"{reason(error)}."
        ) from error
    memory = bounded.machine_memory()
    for tensor in _constants(saved):
        # One value may stand for all of them.
        sizes = [dim.size for dim in tensor.tensor_shape.dim]
        if bounded.product(sizes, memory) > memory:
            raise UsageError(
                f"--model={path} cannot be loaded: it holds a constant of more "
                f"than {memory:,} elements, which this machine cannot hold."
            )
    return saved


def _constants(saved: saved_model_pb2.SavedModel):
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        functions = [function.node_def for function in graph.library.function]
        for node in itertools.chain(graph.node, *functions):
            for value in node.attr.values():
                yield value.tensor
                yield from value.list.tensor


def _choose(signatures, wanted: str | None, path: pathlib.Path) -> str:
    listed = ", ".join(signatures) or "none"
    if wanted is not None:
        if wanted not in signatures:
            raise UsageError(
                f"--model={path} has no signature {wanted}; it has: {listed}."
            )
        return wanted
    if "serving_default" in signatures:
        return "serving_default"
    if len(signatures) != 1:
        raise UsageError(
            f"--model={path} has no signature serving_default; choose one of "
            f"its own with --signature: {listed}."
        )
    return next(iter(signatures))
