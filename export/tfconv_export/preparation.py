"""A request -> the model and the data that are to be converted."""

import dataclasses
import functools
import pathlib

import numpy as np

from tfconv_export import calibration
from tfconv_export import files
from tfconv_export import inputs
from tfconv_export import loading
from tfconv_export import metadata
from tfconv_export import outputs
from tfconv_export import proof
from tfconv_export import targets
from tfconv_export.calibration import Examples
from tfconv_export.conversion import Recipe
from tfconv_export.data import sources as data_sources
from tfconv_export.data.normalization import normalization
from tfconv_export.errors import UsageError
from tfconv_export.printable import clean
from tfconv_export.quantization import equalization
from tfconv_export.report import pictures
from tfconv_export.request import Path
from tfconv_export.request import Request
from tfconv_export.source import Shapes
from tfconv_export.source import Source
from tfconv_export.source import fix_shapes


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be converted, and where it is to go.

    Attributes:
        request: what was asked for.
        recipe: what kind of numbers the file is to compute with.
        planned: the paths of what is to be written.
        source: the model, of fixed shapes.
        examples: what to calibrate on, and to compare on.
        evaluation: examples with labels, or `None`.
        description: what the file is to say of itself.
        equalized: strings, the layers whose channels were evened out.
    """

    request: Request
    recipe: Recipe
    planned: outputs.Outputs
    source: Source
    examples: Examples
    evaluation: Examples | None
    description: metadata.Metadata
    equalized: tuple[str, ...] = ()


def prepare(
    request: Request, recipe: Recipe, also_whole: Path | None = None
) -> Job:
    """Makes sure that all can be read and written, and reads it.

    Args:
        request: one that makes sense.
        recipe: what is to be made.
        also_whole: path of one more TFLite file to be written, or `None`.

    Raises:
        UsageError: if something cannot be read or written, or if the model,
            the data and the shapes do not fit together.
    """
    if request.report_dir is not None:
        pictures.require_matplotlib()
    planned = outputs.plan(
        inputs.find(request),
        request.overwrite,
        request.output,
        compiles=targets.TARGETS[request.target].compiles,
        also_whole=also_whole,
        report=request.report,
        c_array=request.c_array,
        report_dir=request.report_dir,
        golden_dir=request.golden_dir,
    )
    readers = [_reader(request, name) for name in _data_arguments(request)]
    if request.custom_module is not None:
        loading.run_module(request.custom_module)
    try:
        source = loading.load(
            request.model,
            unsafe_deserialization=request.unsafe_deserialization,
            signature=request.signature,
        )
    except RecursionError as error:
        raise UsageError(
            f"--model={request.model} cannot be loaded: it is nested too "
            "deeply."
        ) from error
    description = metadata.Metadata(
        # A path that is not text comes with what cannot be encoded.
        name=clean(pathlib.Path(source.origin).stem),
        version=request.model_version,
        **_normalisation(request.mean, request.stddev),
        labels=()
        if request.labels is None
        else proof.read_labels(request.labels),
    )
    source = fix_shapes(source, _shapes(source, request.input_shape, readers))
    normalization(source.inputs, request.mean, request.stddev)
    examples, evaluation = (
        None
        if reader is None
        else calibration.choose(
            reader,
            source.inputs,
            count=count,
            seed=request.seed,
            mean=request.mean,
            stddev=request.stddev,
            progress=functools.partial(
                request.progress, f"reading {name} data"
            ),
        )
        for name, reader, count in zip(
            ("representative", "evaluation"),
            readers,
            (request.num_calibration_examples, request.num_evaluation_examples),
            strict=True,
        )
    )
    changes = ()
    if request.equalize:
        source, changes = equalization.equalized(source, examples)
    if examples is None:
        examples = calibration.generate(source.inputs)
    # Not before functions of data have run, which import modules, too.
    files.check_unread(planned.targets, inputs.modules())
    return Job(
        request=request,
        recipe=recipe,
        planned=planned,
        source=source,
        examples=examples,
        evaluation=evaluation,
        description=description,
        equalized=tuple(
            f"{change.producer} to {change.consumer}" for change in changes
        ),
    )


def _data_arguments(request: Request) -> tuple[str, str]:
    if request.data_function is not None:
        return "data_function", "evaluation_data"
    return "representative_data", "evaluation_data"


def _reader(request: Request, argument: str):
    given = getattr(request, argument)
    if given is None:
        return None
    return data_sources.open_data(
        given,
        argument,
        key=request.representative_key,
        feature_spec=request.feature_spec,
        labelled=argument == "evaluation_data",
    )


def _shapes(source, given: Shapes, readers) -> Shapes:
    """The shapes asked for, else the data's where the model's are open."""
    if given is not None:
        return given
    open_ones = [item for item in source.inputs if None in item.shape]
    reader = next(filter(None, readers), None)
    if not open_ones or reader is None:
        return None
    found = reader.shapes(source.inputs)
    return {
        item.name: tuple(
            new if dim is None else dim
            for dim, new in zip(item.shape, found[item.name], strict=True)
        )
        for item in open_ones
        if len(found.get(item.name, ())) == len(item.shape)
    }


def _normalisation(mean, stddev) -> dict[str, tuple[float, ...]]:
    if mean is None and stddev is None:
        return {}
    return {
        "mean": tuple(np.atleast_1d(0.0 if mean is None else mean).tolist()),
        "stddev": tuple(
            np.atleast_1d(1.0 if stddev is None else stddev).tolist()
        ),
    }
