"""One hop of a model as a TFLite file, in the numbers of another file."""

import dataclasses

import keras
import tensorflow as tf

from tfconv.streaming import Stream
from tfconv_export import conversion
from tfconv_export import flat_means
from tfconv_export import flatbuffer
from tfconv_export import proof
from tfconv_export.conversion import Conversion
from tfconv_export.errors import UsageError
from tfconv_export.keras_operations import for_the_converter
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization import streaming_twin
from tfconv_export.quantization.computed_graph import named_ends
from tfconv_export.result import Check
from tfconv_export.source import Input
from tfconv_export.source import Source
from tfconv_export.source import unique
from tfconv_export.streaming_result import StreamingState


def make_stream(source: Source, hop: int, fallback: str | None) -> Stream:
    """The model, to be run hop by hop.

    Args:
        source: one whose shape is fixed.
        hop: int, new frames per step.
        fallback: as of `tfconv.streaming.plan`.

    Raises:
        UsageError: if it cannot be streamed.
    """
    if source.without_layers:
        raise UsageError(
            f"The model {source.origin} is a {source.without_layers}, which "
            "does not say what its layers are; give a .keras file of Keras 3."
        )
    try:
        return Stream(_of_fixed_shape(source), hop, fallback)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The model {source.origin} cannot be streamed. "
            f"{_as_flags(' '.join(str(error).split()))}"
        ) from error


def _as_flags(sentence: str) -> str:
    """With what `tfconv.streaming.plan` calls its arguments as flags."""
    return (
        sentence.replace('`fallback="buffer"`', "--stream_fallback=buffer")
        .replace("`fallback` argument", "value of --stream_fallback")
        .replace("`hop` argument", "value of --stream_hop")
    )


def _of_fixed_shape(source: Source) -> keras.Model:
    """The model; around one that leaves its window open, one that does not."""
    model = source.trackable
    if not getattr(model, "inputs", None):
        return model  # It is refused for what it is.
    if all(None not in tensor.shape[1:] for tensor in model.inputs):
        return model
    inputs = {
        item.name: keras.Input(item.shape, dtype=item.dtype.name)
        for item in source.inputs
    }
    outputs = source.exported(inputs)
    return keras.Model(list(inputs.values()), list(outputs.values()))


def convert_step(
    source: Source,
    stream: Stream,
    whole: Conversion | None,
) -> tuple[bytes, tuple[StreamingState, ...], Check]:
    """Converts one hop, with the states as inputs and outputs.

    Args:
        source: the model.
        stream: the same, hop by hop.
        whole: the integer file for whole windows, whose numbers it is to
            compute with; `None` for float32.

    Returns:
        The file, its states, and whether these go back in as they are.

    Raises:
        CheckError: if the converter finds no way, or if an operator has no
            counterpart in the file for whole windows.
    """
    step, names = _step(source, stream)
    content = conversion.convert(
        step, conversion.Recipe(), None, streams=True
    ).content
    if whole is not None:
        content = streaming_twin.quantized_alike(
            content, tuple(names), whole.float_content, whole.content
        )
    content = _in_order(flat_means.flattened(content), step, names)
    facts = flatbuffer.read(content)
    inputs, outputs = (
        {item.name: item for item in proof.endpoints(facts, kind)}
        for kind in ("inputs", "outputs")
    )
    states = tuple(
        StreamingState(
            output_name=output_name,
            layer=state.name,
            **dataclasses.asdict(inputs[name]),
        )
        for (name, output_name), state in zip(
            names.items(), stream.plan.states, strict=True
        )
    )
    different = [
        f"{name} and {output_name} differ"
        for name, output_name in names.items()
        if dataclasses.replace(outputs[output_name], name=name) != inputs[name]
    ]
    check = Check(
        "states go back in as they are",
        not different,
        "; ".join(different) or f"{len(states)} states",
    )
    return content, states, check


def _in_order(content: bytes, step: Source, names: dict[str, str]) -> bytes:
    """The states last, by number: firmware knows inputs by their places."""
    model = flatbuffer_edit.read(content)
    graph = model.subgraphs[0]
    inputs, outputs = named_ends(model)
    orders = (
        [inputs[item.name] for item in step.inputs],
        [index for name, index in outputs.items() if name not in names.values()]
        + [outputs[name] for name in names.values()],
    )
    graph.inputs, graph.outputs = (
        sorted(ends, key=order.index)
        for ends, order in zip(
            (graph.inputs, graph.outputs), orders, strict=True
        )
    )
    return flatbuffer_edit.write(model)


def _step(source: Source, stream: Stream) -> tuple[Source, dict[str, str]]:
    """One hop as a function, and the states' outputs by their inputs."""
    model_names = [item.name for item in source.inputs]
    output_names = _output_names(source)
    states = stream.plan.states
    inputs = unique(
        [*model_names, *(f"state_{index}" for index in range(len(states)))]
    )[len(model_names) :]
    outputs = unique([*output_names, *(f"{name}_next" for name in inputs)])[
        len(output_names) :
    ]
    frames = [
        Input(item.name, (stream.plan.hop, *item.shape[1:]), item.dtype)
        for item in source.inputs
    ]
    held = [
        Input(name, state.shape, tf.as_dtype(state.dtype))
        for name, state in zip(inputs, states, strict=True)
    ]

    def function(tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        # Nobody would reset the operator at every hop.
        with for_the_converter(fuses_lstm=False):
            made, new = stream.step(
                [tensors[name] for name in model_names],
                [tensors[name] for name in inputs],
            )
        values = [*keras.tree.flatten(made), *new]
        return dict(zip([*output_names, *outputs], values, strict=True))

    step = dataclasses.replace(
        source,
        inputs=(*frames, *held),
        reference=function,
        exported=function,
    )
    return step, dict(zip(inputs, outputs, strict=True))


def _output_names(source: Source) -> list[str]:
    """In the model's order, which TensorFlow's own structures do not keep."""
    specs = {
        item.name: tf.TensorSpec((1, *item.shape), item.dtype)
        for item in source.inputs
    }
    names = []

    def trace(inputs):
        names[:] = source.exported(inputs)

    tf.function(trace, autograph=False).get_concrete_function(specs)
    return names
