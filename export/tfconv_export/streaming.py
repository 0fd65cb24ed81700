"""A trained model of whole windows -> a proved file that goes hop by hop."""

import dataclasses
import os
import pathlib

import keras
import tensorflow as tf

from tfconv.streaming import Stream
from tfconv_export import calibration
from tfconv_export import comparison
from tfconv_export import conversion
from tfconv_export import files
from tfconv_export import flatbuffer
from tfconv_export import loading
from tfconv_export import metadata
from tfconv_export import proof
from tfconv_export import streaming_proof
from tfconv_export.addition import not_taken_for_bias
from tfconv_export.data import sources as data_sources
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.exporting import Data
from tfconv_export.exporting import Path
from tfconv_export.quantization import streaming_twin
from tfconv_export.result import Check
from tfconv_export.result import ExportResult
from tfconv_export.source import Input
from tfconv_export.source import Source
from tfconv_export.source import unique
from tfconv_export.streaming_result import StreamingResult
from tfconv_export.streaming_result import StreamingState

_MODES = ("none", "int8", "int16x8")


def export_streaming(
    model: "keras.Model | Path",
    output: Path,
    hop: int,
    *,
    quantize: str = "none",
    representative_data: "Data | None" = None,
    also_whole: "Path | None" = None,
    overwrite: bool = False,
    fallback: str | None = None,
) -> StreamingResult:
    """Converts a trained model to a TFLite file that runs frame by frame.

    The file takes the newest `hop` frames of each input, under the input's
    name, and states: `state_0`, `state_1`, ..., the frames that layers look
    back on. It gives the model's outputs, under their names, and the states of
    the next hop: `state_0_next`, `state_1_next`, ... Their bytes go back in as
    they are. At the first hop every element is `StreamingState.initial_value`:
    0, or in an integer file the state's zero point.

    From hop `plan.hops_until_full` on, the outputs are the model's for the
    newest window; see `tfconv.streaming.Plan` for models with causal padding.
    An integer file takes its scales and weights from the file for whole
    windows, and gives the same bits. Both are run on LiteRT and, if it is
    installed, on TFLite Micro before anything is written.

    Args:
        model: path of a `.keras` or an `.h5` file, or a model in memory:
            functional or Sequential.
        output: path of the streaming TFLite file.
        hop: int, new frames per step; see `tfconv.streaming.plan`.
        quantize: string, `"none"` (float32), `"int8"` or `"int16x8"`.
        representative_data: whole windows like those that the model was
            trained on; see `tfconv_export.export`. Put one after the other,
            they also are the signal that is streamed for the proof.
        also_whole: path of the TFLite file for whole windows, which is the
            same as `tfconv_export.export` makes; `None` not to write it.
        overwrite: bool, whether the files may exist.
        fallback: `None` or `"buffer"`; see `tfconv.streaming.plan`.

    Returns:
        The result. All its checks have passed.

    Raises:
        UsageError: if the request cannot be carried out; nothing is written.
        CheckError: if an operator of the integer streaming file has no
            counterpart in the file for whole windows, or if a file failed a
            check; nothing is written.

    Example:

    >>> result = tfconv_export.export_streaming(
    ...     "model.keras",
    ...     "stream.tflite",
    ...     hop=2,
    ...     quantize="int8",
    ...     representative_data=features,
    ... )
    >>> [(state.name, state.initial_value) for state in result.states]
    [('state_0', -3), ('state_1', -128)]
    """
    _check_request(quantize, representative_data)
    targets = {"output": output}
    if also_whole is not None:
        targets["also_whole"] = also_whole
    targets = {
        flag: files.check_target(path, overwrite, flag)
        for flag, path in targets.items()
    }
    read = {
        flag: path
        for flag, path in (
            ("model", model),
            ("representative_data", representative_data),
        )
        if isinstance(path, (str, os.PathLike))
    }
    files.check_distinct(targets, read)
    reader = None
    if representative_data is not None:
        reader = data_sources.open_data(
            representative_data, "representative_data"
        )
    source = loading.load(model)
    stream = _stream(source, hop, fallback)
    examples = (
        calibration.generate(source.inputs)
        if reader is None
        else calibration.choose(reader, source.inputs)
    )
    recipe = conversion.Recipe(quantize)
    description = metadata.Metadata(name=pathlib.Path(source.origin).stem)
    converted = conversion.convert(
        source, recipe, examples, also_float=recipe.is_integer
    )
    whole = proof.describe(converted, description)
    whole_result, _ = proof.prove(source, recipe, whole, examples)
    _raise_if_failed(
        whole_result.checks, whole_result, "of the file for whole windows "
    )

    step, names = _step(source, stream)
    streaming = conversion.convert(step, conversion.Recipe(), None)
    if recipe.is_integer:
        streaming = dataclasses.replace(
            streaming,
            content=streaming_twin.quantized_alike(
                streaming.content,
                tuple(names),
                converted.float_content,
                converted.content,
            ),
        )
    content = proof.describe(streaming, description).content
    result = _result(content, stream, names, quantize, whole_result)
    signals = streaming_proof.signals(examples, stream.plan)
    compared = (
        streaming_proof.compare_exactly(
            content, whole.content, stream.plan, result.states, signals
        )
        if recipe.is_integer
        else streaming_proof.compare_closely(
            content,
            comparison.model_outputs(source),
            stream.plan,
            result.states,
            signals,
        )
    )
    result = dataclasses.replace(
        result,
        output=str(targets["output"]),
        checks=(*result.checks, *compared),
        whole=dataclasses.replace(
            whole_result, output=str(targets.get("also_whole", ""))
        ),
    )
    _raise_if_failed(result.checks, result, "of the streaming file ")
    contents = {targets["output"]: content}
    if also_whole is not None:
        contents[targets["also_whole"]] = whole.content
    files.write_all(contents)
    return result


def _check_request(quantize: str, representative_data) -> None:
    if quantize not in _MODES:
        raise UsageError(
            f"--quantize={quantize} is not possible for a streaming file; it "
            f"must be one of {', '.join(_MODES)}."
        )
    if quantize != "none" and representative_data is None:
        raise UsageError(
            f"--quantize={quantize} needs --representative_data: whole windows "
            "from which to take the ranges of the activations."
        )


def _stream(source: Source, hop: int, fallback: str | None) -> Stream:
    if source.kind != "keras":
        raise UsageError(
            f"The model {source.origin} is a SavedModel, which does not say "
            "what its layers are; give a .keras file."
        )
    try:
        return Stream(source.trackable, hop, fallback)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The model {source.origin} cannot be streamed. "
            f"{' '.join(str(error).split())}"
        ) from error


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
        with not_taken_for_bias():
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


def _result(
    content: bytes,
    stream: Stream,
    names: dict[str, str],
    quantize: str,
    whole: ExportResult,
) -> StreamingResult:
    facts = flatbuffer.read(content)
    inputs = {item.name: item for item in proof.endpoints(facts, "inputs")}
    outputs = {item.name: item for item in proof.endpoints(facts, "outputs")}
    states, problems = [], []
    for (name, output_name), state in zip(
        names.items(), stream.plan.states, strict=True
    ):
        item = inputs.pop(name)
        if dataclasses.replace(outputs.pop(output_name), name=name) != item:
            problems.append(f"{name} and {output_name} differ")
        states.append(
            StreamingState(
                output_name=output_name,
                layer=state.name,
                **dataclasses.asdict(item),
            )
        )
    return StreamingResult(
        output="",
        quantize=quantize,
        plan=stream.plan,
        inputs=tuple(inputs.values()),
        outputs=tuple(outputs.values()),
        states=tuple(states),
        size=len(content),
        operators=facts.operator_counts,
        checks=(
            Check(
                "states go back in as they are",
                not problems,
                "; ".join(problems) or f"{len(states)} states",
            ),
            *_check_integers(facts, quantize),
        ),
        whole=whole,
    )


def _check_integers(facts: flatbuffer.Facts, quantize: str) -> list[Check]:
    if quantize == "none":
        return []
    found = [
        op.name
        for op in facts.operators
        for tensor in (*op.inputs, *op.outputs)
        if tensor is not None and "float" in tensor.dtype
    ]
    return [
        Check(
            "integers only",
            not found,
            f"{', '.join(dict.fromkeys(found))} in float"
            if found
            else "no operator computes in float",
        )
    ]


def _raise_if_failed(checks: tuple[Check, ...], result, whose: str) -> None:
    failed = [check for check in checks if not check.passed]
    if failed:
        names = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        raise CheckError(
            f"{len(failed)} of {len(checks)} checks {whose}failed ({names}); "
            "nothing was written.",
            result,
        )
