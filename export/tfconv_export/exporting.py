"""The whole way from a trained model to a proved file, as one call."""

import dataclasses
import math
from collections.abc import Callable
from collections.abc import Sequence

import keras

from tfconv_export import agreement
from tfconv_export import conversion
from tfconv_export import files
from tfconv_export import golden
from tfconv_export import outputs
from tfconv_export import preparation
from tfconv_export import proof
from tfconv_export import provenance
from tfconv_export import request as requests
from tfconv_export import verification
from tfconv_export.conversion import Conversion
from tfconv_export.conversion import Recipe
from tfconv_export.data import ranges
from tfconv_export.errors import CheckError
from tfconv_export.flatbuffer import Facts
from tfconv_export.preparation import Job
from tfconv_export.progress import Progress
from tfconv_export.progress import silent
from tfconv_export.quantization import layer_errors
from tfconv_export.quantization import remedies
from tfconv_export.quantization import sensitivity
from tfconv_export.request import Data
from tfconv_export.request import Path
from tfconv_export.request import Request
from tfconv_export.result import ExportResult
from tfconv_export.source import Shapes


def export(
    model: "keras.Model | Path",
    output: Path,
    *,
    quantize: str = "none",
    io_dtype: str | None = None,
    float_layers: Sequence[str] = (),
    auto_float_layers: bool = False,
    min_sqnr_db: float | None = None,
    equalize: bool = False,
    representative_data: "Data | None" = None,
    data_function: "str | Callable | None" = None,
    representative_key: str | None = None,
    feature_spec: Path | None = None,
    num_calibration_examples: int = 1000,
    seed: int = 0,
    mean: "float | Sequence[float] | None" = None,
    stddev: "float | Sequence[float] | None" = None,
    evaluation_data: "Data | None" = None,
    num_evaluation_examples: int = 1000,
    max_accuracy_drop: float | None = None,
    input_shape: Shapes = None,
    signature: str | None = None,
    custom_module: Path | None = None,
    unsafe_deserialization: bool = False,
    target: str = "litert",
    require_npu: bool = False,
    labels: "Path | Sequence[str] | None" = None,
    model_version: str = "",
    overwrite: bool = False,
    report: Path | None = None,
    report_dir: Path | None = None,
    golden_dir: Path | None = None,
    c_array: Path | None = None,
    progress: Progress = silent,
) -> ExportResult:
    """Converts a trained model to TFLite, proves the file and writes it.

    The file has a batch of 1, and is compared with the model, on LiteRT and on
    the target's own interpreter, before it is written.

    Args:
        model: path of a `.keras` or `.h5` file (of Keras 3 or 2) or a
            SavedModel directory; or a model in memory that has been built:
            functional, Sequential or subclassed.
        output: path of the TFLite file.
        quantize: string, `"none"`, `"float16"`, `"dynamic"`, `"int8"` or
            `"int16x8"`; see `conversion.Recipe`.
        io_dtype: string, the dtype of inputs and outputs: `"float32"`, or
            `"int8"` (default) or `"uint8"` with `"int8"`, or `"int16"`
            (default) with `"int16x8"`.
        float_layers: regular expressions; the layers whose names one of them
            finds stay in float32, in the integer modes.
        auto_float_layers: bool, whether to keep the fewest most sensitive
            layers in float32 until `min_sqnr_db` is reached.
        min_sqnr_db: float, the signal-to-noise ratio in decibels that every
            output of the file must have. Default: 10, and 40 for float16.
        equalize: bool, whether to even out the ranges of channels before
            quantizing. The float model computes the same.
        representative_data: examples like those the model was trained on, of
            which int8 and int16x8 take the ranges of the activations, and on
            which every file is compared with the model: arrays, paths or a
            function; see `data.sources`. Without, the file is compared on
            generated data.
        data_function: in the place of `representative_data`: a function that
            yields one example after the other, or `module:function`.
        representative_key: string, which array of a `.npz` file.
        feature_spec: what is in TFRecord files; see `data.sources`.
        num_calibration_examples: int, at most how many examples to use, chosen
            at random.
        seed: int, of that choice.
        mean: float, or one for each channel, to subtract from the examples.
        stddev: likewise, to divide them by then.
        evaluation_data: examples with labels, for the accuracy of the model
            and of the file; see `data.sources`.
        num_evaluation_examples: int, at most how many of them to use.
        max_accuracy_drop: float, how many percentage points of accuracy the
            file may lose. Default: 5, and 2 where chance does not explain
            them. A single example may always be lost.
        input_shape: tuple of ints without the batch, or a dict of them by
            input, where the model leaves a dimension open. By default that of
            the representative data.
        signature: string, which signature of a SavedModel.
        custom_module: path of a Python file that is run first: it registers
            your own layers with `keras.saving.register_keras_serializable`.
        unsafe_deserialization: bool, whether to run the Python code of
            `Lambda` layers in a file, and what a SavedModel does more than
            compute.
        target: string, what is to run the file: `"litert"`, `"micro"` (TFLite
            Micro) or an NPU such as `"ethos-u55-128"`; see `targets.TARGETS`.
        require_npu: bool, whether an operator that the NPU leaves to the CPU
            fails.
        labels: names of the classes, or path of a text file with one a line,
            for the metadata in the file.
        model_version: string, for the metadata in the file.
        overwrite: bool, whether the files to write may exist.
        report: path of a JSON file for the result.
        report_dir: path of a directory for the report as a page, with its
            pictures; see `report.directory`.
        golden_dir: path of a directory for inputs, and what the reference
            kernels compute of them; see `golden.contents`.
        c_array: path of a C++ source file for the bytes that the target runs
            as an array; its header is written beside it. See `c_array.write`.
        progress: function called as `progress(task, done, total)` along the
            way; `total` is `None` where it is not known.

    Returns:
        The result. All its checks have passed.

    Raises:
        UsageError: if the request cannot be carried out; nothing is written.
        CheckError: if the file failed a check; nothing is written but the
            reports that were asked for.

    Example:

    >>> result = tfconv_export.export(
    ...     "model.keras",
    ...     "model.tflite",
    ...     quantize="int8",
    ...     representative_data=features,
    ... )
    >>> result.size
    27044
    """
    given = locals()
    arguments = provenance.as_flags(export, given)
    request = Request(**given)
    recipe = Recipe(quantize, io_dtype, tuple(float_layers))
    requests.check(recipe, target, arguments)
    job = preparation.prepare(request, recipe)
    converted, result, facts = convert_and_prove(job)
    result = dataclasses.replace(
        result, output=str(job.planned.output), arguments=arguments
    )
    reports = outputs.reports(job.planned, result, facts)
    if result.failed:
        # What went wrong is what a report is looked at for.
        files.write_all(reports)
        names = "; ".join(check.name for check in result.failed)
        raise CheckError(
            f"{len(result.failed)} of {len(result.checks)} checks failed "
            f"({names}); nothing was written"
            f"{' but the report' if reports else ''}.",
            result,
        )
    content = converted.content
    vectors = None
    if golden_dir is not None:
        vectors = golden.vectors(content, target, job.examples)
    contents = outputs.contents(
        job.planned,
        content,
        result.target,
        vectors,
        keeps_state=result.keeps_state,
    )
    files.write_all(contents | reports, overwrite)
    return result


def convert_and_prove(
    job: Job, *, is_stream: bool = False
) -> tuple[Conversion, ExportResult, Facts]:
    """The file for whole windows, and everything that is known of it.

    Args:
        job: what to convert.
        is_stream: bool, whether a file that goes frame by frame is made of it.

    Returns:
        The file, the result, without an output path, and the facts of the file.

    Raises:
        CheckError: if the model cannot be converted.
        UsageError: if the labels or the evaluation data are not for it.
    """
    request, recipe, source = job.request, job.recipe, job.source
    if request.auto_float_layers:
        recipe = sensitivity.choose_float_layers(
            source, recipe, job.examples, request.min_sqnr_db
        ).recipe
    request.progress("converting", 0, None)
    converted = conversion.convert(
        source,
        recipe,
        job.examples,
        progress=request.progress,
    )
    converted = proof.describe(converted, job.description)
    layers = ()
    if converted.float_content is not None:
        layers = layer_errors.compare(
            converted.float_content,
            converted.content,
            job.examples,
            converted.scopes,
        )
    result, facts = proof.prove(
        source,
        recipe,
        converted,
        job.examples,
        layers=layers,
        evaluation=job.evaluation,
        target=request.target,
        require_npu=request.require_npu,
        min_sqnr_db=request.min_sqnr_db,
        max_accuracy_drop=request.max_accuracy_drop,
        progress=request.progress,
    )
    noise = _warn_of_noise(job, recipe, converted, result, layers, is_stream)
    if noise and recipe.is_integer:
        noise += verification.warn_of_shared_scales(facts)
    result = dataclasses.replace(
        result,
        layers=tuple(layers),
        folded=source.folded,
        equalized=job.equalized,
        warnings=(
            *_warnings(job.examples, job.evaluation),
            *result.warnings,
            *noise,
            *verification.warnings(facts, recipe, layers),
        ),
        versions=provenance.versions(),
    )
    return converted, result, facts


def _warnings(examples, evaluation) -> tuple[str, ...]:
    found = list(examples.warnings)
    if evaluation is not None:
        found += evaluation.warnings
        found += ranges.compare_ranges(examples.summaries, evaluation.summaries)
    return tuple(dict.fromkeys(found))


def _warn_of_noise(
    job: Job, recipe: Recipe, converted, result: ExportResult, layers, is_stream
) -> tuple[str, ...]:
    """Tries what would help an output that is not close, or not good."""
    request = job.request
    floor = agreement.MIN_SQNR_DB.get(recipe.quantize, math.inf)
    wanted = max(remedies.GOOD_SQNR_DB, request.min_sqnr_db or 0.0)
    lowest = min(
        (item for item in result.agreements if item.finite),
        key=lambda item: item.judged_db,
        default=None,
    )
    # float16 is close or broken, and float32 is the model itself.
    if floor > remedies.GOOD_SQNR_DB or lowest is None:
        return ()
    if lowest.judged_db >= wanted:
        return ()
    request.progress("trying what helps", 0, None)
    trial = remedies.Trial(
        job.source,
        recipe,
        converted,
        job.examples,
        job.evaluation,
        layers,
        request.target,
        is_equalized=request.equalize,
        is_stream=is_stream,
    )
    return (remedies.warning(trial, lowest),)
