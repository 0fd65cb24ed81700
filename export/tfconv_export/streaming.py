"""A trained model of whole windows -> a proved file that goes hop by hop."""

import dataclasses
import inspect
import os
from typing import Any
from typing import NoReturn

import keras

from tfconv.streaming import Stream
from tfconv_export import files
from tfconv_export import flatbuffer
from tfconv_export import golden
from tfconv_export import outputs
from tfconv_export import preparation
from tfconv_export import proof
from tfconv_export import provenance
from tfconv_export import request as requests
from tfconv_export import streaming_conversion
from tfconv_export import streaming_mark
from tfconv_export import streaming_proof
from tfconv_export import streaming_variables
from tfconv_export import targets
from tfconv_export import verification
from tfconv_export.calibration import Example
from tfconv_export.conversion import Conversion
from tfconv_export.conversion import Recipe
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.exporting import convert_and_prove
from tfconv_export.exporting import export
from tfconv_export.preparation import Job
from tfconv_export.reference import Reference
from tfconv_export.request import Path
from tfconv_export.request import Request
from tfconv_export.streaming_result import StreamingResult

_MODES = ("none", "int8", "int16x8")
_STATES = ("external", "internal")


def export_streaming(
    model: "keras.Model | Path",
    output: Path,
    hop: int,
    *,
    state: str = "external",
    also_whole: Path | None = None,
    fallback: str | None = None,
    **options: Any,
) -> StreamingResult:
    """Converts a trained model to a TFLite file that runs frame by frame.

    The file takes the newest `hop` frames of each input, under the input's
    name, and gives the model's outputs, under their names. What layers look
    back on, its states, it either takes and gives as well, or keeps.

    External states are inputs `state_0`, `state_1`, ..., and outputs
    `state_0_next`, `state_1_next`, ..., the states of the next hop. Their
    bytes go back in as they are. At the first hop every element is
    `StreamingState.initial_value`: 0, or in an integer file the state's zero
    point.

    Internal states are resource variables in the file. On LiteRT the signature
    `serving_default` runs a hop and `reset` begins a new stream; on TFLite
    Micro `MicroInterpreter::Reset()` does.

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
        state: string, `"external"` or `"internal"`.
        also_whole: path of the TFLite file for whole windows, which is the
            same as `tfconv_export.export` makes; `None` not to write it.
        fallback: `None` or `"buffer"`; see `tfconv.streaming.plan`.
        **options: the other arguments of `tfconv_export.export`. `quantize` is
            `"none"`, `"int8"` or `"int16x8"`. The representative data are
            whole windows; put one after the other, they also are the signal
            that is streamed for the proof. The accuracy is that of the file
            for whole windows. What is made of the file, such as `c_array`, is
            made of the streaming file. `io_dtype`, `float_layers` and
            `auto_float_layers` are not possible.

    Returns:
        The result. All its checks have passed.

    Raises:
        UsageError: if the request cannot be carried out; nothing is written.
        CheckError: if an operator of the integer streaming file has no
            counterpart in the file for whole windows, or if a file failed a
            check; nothing is written but the reports that were asked for.

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
    bound = inspect.signature(export).bind(model, output, **options)
    arguments = provenance.as_flags(export, bound.arguments)
    bound.apply_defaults()
    request = Request(**bound.arguments)
    _check(arguments, request.quantize, state)
    recipe = Recipe(request.quantize)
    requests.check(recipe, request.target, arguments)
    job = preparation.prepare(request, recipe, also_whole)
    stream = streaming_conversion.make_stream(job.source, hop, fallback)

    # What is not written need not run on the target.
    whole_target = "litert" if also_whole is None else request.target
    whole_job = dataclasses.replace(
        job, request=dataclasses.replace(request, target=whole_target)
    )
    converted, whole, whole_facts = convert_and_prove(whole_job, is_stream=True)
    whole = dataclasses.replace(
        whole,
        output=str(job.planned.also_whole or ""),
        arguments=arguments | _as_flags(hop, state, also_whole, fallback),
    )
    if whole.failed:
        reports = outputs.reports(job.planned, whole, whole_facts)
        _fail(whole.checks, whole, "of the file for whole windows ", reports)

    request.progress("streaming", 0, None)
    result, content, signals = _convert_and_prove(job, stream, state, converted)
    result = dataclasses.replace(
        result, output=str(job.planned.output), whole=whole
    )
    reports = outputs.reports(job.planned, whole, whole_facts, result)
    if result.failed:
        _fail(result.checks, result, "of the streaming file ", reports)
    vectors = None
    if request.golden_dir is not None:
        vectors = golden.stream_vectors(
            content, request.target, result.states, result.plan, signals[0]
        )
    contents = outputs.contents(
        job.planned,
        content,
        result.target,
        vectors,
        "the stream, hop after hop from a reset on,",
    )
    if also_whole is not None:
        contents[job.planned.also_whole] = converted.content
    files.write_all(contents | reports, request.overwrite)
    return result


def _as_flags(hop, state, also_whole, fallback) -> dict[str, Any]:
    given = {
        "stream_hop": hop,
        "stream_state": state,
        "stream_fallback": fallback,
        "also_whole": None if also_whole is None else os.fspath(also_whole),
    }
    return {
        name: value
        for name, value in given.items()
        if value not in (None, "external")
    }


def _check(given: dict[str, Any], quantize: str, state: str) -> None:
    if state not in _STATES:
        raise UsageError(
            f"--stream_state={state} is unknown; it must be one of "
            f"{', '.join(_STATES)}."
        )
    if quantize not in _MODES:
        raise UsageError(
            f"--quantize={quantize} is not possible for a streaming file; it "
            f"must be one of {', '.join(_MODES)}."
        )
    for name in ("io_dtype", "float_layers", "auto_float_layers"):
        if name in given:
            raise UsageError(
                f"--{name} is not possible for a streaming file, all of which "
                "computes in the same numbers; leave it out."
            )


def _convert_and_prove(
    job: Job, stream: Stream, state: str, whole: Conversion
) -> tuple[StreamingResult, bytes, list[Example]]:
    """The result without paths, the file, and what it was streamed."""
    is_integer = job.recipe.is_integer
    content, states, check = streaming_conversion.convert_step(
        job.source, stream, whole if is_integer else None
    )
    if state == "internal":
        content = streaming_variables.with_variables(content, states)
        states = ()
    described = dataclasses.replace(
        job.description,
        states=tuple(
            name for item in states for name in (item.name, item.output_name)
        ),
    )
    content = streaming_mark.add(
        content, {item.name: item.output_name for item in states}
    )
    converted = proof.describe(Conversion(content, None), described)
    content = converted.content
    facts = flatbuffer.read(content)
    checks = verification.inspect_stream(
        facts, job.recipe, converted, has_variables=state == "internal"
    )
    if states:
        checks.append(check)
    signals = streaming_proof.signals(job.examples, stream.plan)
    if is_integer:
        checks += streaming_proof.compare_exactly(
            content, whole.content, stream.plan, states, signals
        )
    else:
        checks += streaming_proof.compare_closely(
            content,
            Reference(job.source),
            stream.plan,
            states,
            signals,
        )
    request = job.request
    request.progress(f"asking {request.target}", 0, None)
    target, target_checks = targets.judge(
        request.target, content, facts, request.require_npu
    )
    inputs, outputs_ = (
        tuple(
            item
            for item in proof.endpoints(facts, kind)
            if item.name not in described.states
        )
        for kind in ("inputs", "outputs")
    )
    result = StreamingResult(
        output="",
        quantize=job.recipe.quantize,
        state=state,
        plan=stream.plan,
        inputs=inputs,
        outputs=outputs_,
        states=states,
        size=len(content),
        operators=facts.operator_counts,
        checks=(*checks, *target_checks),
        facts=facts,
        target=target,
    )
    return result, content, signals


def _fail(checks, result, whose: str, reports: dict) -> NoReturn:
    # What went wrong is what a report is looked at for.
    files.write_all(reports)
    failed = [check for check in checks if not check.passed]
    names = "; ".join(f"{check.name}: {check.detail}" for check in failed)
    raise CheckError(
        f"{len(failed)} of {len(checks)} checks {whose}failed ({names}); "
        f"nothing was written{' but the report' if reports else ''}.",
        result,
    )
