"""The whole way from a trained model to a proved file, as one call."""

import os
import pathlib

import keras
import numpy as np

from tfconv_export import c_array as c_arrays
from tfconv_export import calibration
from tfconv_export import conversion
from tfconv_export import files
from tfconv_export import flatbuffer
from tfconv_export import loading
from tfconv_export import verification
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.report import to_json
from tfconv_export.result import Check
from tfconv_export.result import Endpoint
from tfconv_export.result import ExportResult
from tfconv_export.source import Shapes
from tfconv_export.source import fix_shapes


def export(
    model: "keras.Model | os.PathLike | str",
    output: "os.PathLike | str",
    *,
    quantize: str = "none",
    representative_data: "np.ndarray | os.PathLike | str | None" = None,
    representative_key: str | None = None,
    io_dtype: str | None = None,
    input_shape: Shapes = None,
    overwrite: bool = False,
    report: "os.PathLike | str | None" = None,
    c_array: "os.PathLike | str | None" = None,
    signature: str | None = None,
    custom_module: "os.PathLike | str | None" = None,
    unsafe_deserialization: bool = False,
) -> ExportResult:
    """Converts a trained model to TFLite, proves the file and writes it.

    The file has a batch of 1, and is compared with the model, on LiteRT,
    before it is written.

    Args:
        model: path of a `.keras` file, an `.h5` file (of Keras 3 or 2) or a
            SavedModel directory; or a model in memory that has been built:
            functional, Sequential or subclassed.
        output: path of the TFLite file.
        quantize: string, `"none"`, `"float16"`, `"dynamic"`, `"int8"` or
            `"int16x8"`; see `conversion.Recipe`.
        representative_data: array of shape `(n, *input_shape)`, or path of a
            `.npy` or `.npz` file with one, of any float or integer dtype.
            Needed for `"int8"` and `"int16x8"`, which take the ranges of the
            activations from it. In every mode the file is compared with the
            model on it; otherwise on generated data.
        representative_key: string, which array of a `.npz` file.
        io_dtype: string, the dtype of input and outputs: `"float32"`, or
            `"int8"` (default) or `"uint8"` with `"int8"`, or `"int16"`
            (default) with `"int16x8"`.
        input_shape: tuple of ints without the batch, or a dict of them by
            input, where the model leaves a dimension open. By default that of
            the representative data.
        overwrite: bool, whether the files to write may exist.
        report: path of a JSON file for the result.
        c_array: path of a C++ source file for the same bytes as an array; its
            header is written beside it. See `c_array.write`.
        signature: string, which signature of a SavedModel.
        custom_module: path of a Python file that is run first: it registers
            your own layers with `keras.saving.register_keras_serializable`.
        unsafe_deserialization: bool, whether to run the Python code of
            `Lambda` layers in a file.

    Returns:
        The result. All its checks have passed.

    Raises:
        UsageError: if the request cannot be carried out; nothing is written.
        CheckError: if the file failed a check; nothing is written.

    Example:

    >>> result = tfconv_export.export(
    ...     "model.keras",
    ...     "model.tflite",
    ...     quantize="int8",
    ...     representative_data=features,
    ... )
    >>> result.size
    26632
    """
    recipe = conversion.Recipe(quantize, io_dtype)
    targets = {"output": files.check_target(output, overwrite, "output")}
    if report is not None:
        targets["report"] = files.check_target(report, overwrite, "report")
    if c_array is not None:
        source_path, header_path = c_arrays.targets(pathlib.Path(c_array))
        targets["c_array"] = files.check_target(
            source_path, overwrite, "c_array"
        )
        targets["c_array (its header)"] = files.check_target(
            header_path, overwrite, "c_array"
        )
    files.check_distinct(
        targets,
        {
            name: path
            for name, path in (
                ("model", model),
                ("representative_data", representative_data),
            )
            if isinstance(path, (str, os.PathLike))
        },
    )
    if recipe.is_integer and representative_data is None:
        raise UsageError(
            f"--quantize={quantize} needs --representative_data: examples "
            "from which to take the ranges of the activations."
        )
    array = origin = None
    if representative_data is not None:
        array, origin = calibration.load(
            representative_data, representative_key
        )
    if custom_module is not None:
        loading.run_module(custom_module)
    source = loading.load(
        model,
        unsafe_deserialization=unsafe_deserialization,
        signature=signature,
    )
    if input_shape is None and array is not None and len(source.inputs) == 1:
        input_shape = _shape_of_open(source.inputs[0].shape, array.shape[1:])
    source = fix_shapes(source, input_shape)
    if array is None:
        examples = calibration.generate(source.inputs)
    else:
        examples = calibration.check(array, origin, source.inputs)

    converted = conversion.convert(source, recipe, examples)
    result = _verify(source, recipe, converted, examples, targets["output"])
    if result.failed:
        names = ", ".join(check.name for check in result.failed)
        raise CheckError(
            f"{len(result.failed)} of {len(result.checks)} checks failed "
            f"({names}); nothing was written.",
            result,
        )
    contents = {targets["output"]: converted.content}
    if report is not None:
        contents[targets["report"]] = to_json(result).encode()
    if c_array is not None:
        contents |= c_arrays.write(converted.content, targets["c_array"])
    files.write_all(contents)
    return result


def _shape_of_open(known, found):
    """The data's dimensions where the model leaves them open."""
    if None not in known or len(known) != len(found):
        return None
    return tuple(
        new if dim is None else dim
        for dim, new in zip(known, found, strict=True)
    )


def _endpoints(facts, kind: str) -> tuple[Endpoint, ...]:
    named = {tensor.name: tensor for tensor in getattr(facts, kind)}
    if facts.signatures:
        named = getattr(facts.signatures[0], kind)
    return tuple(
        Endpoint(
            name=name,
            shape=tensor.shape,
            dtype=tensor.dtype,
            scale=tensor.scales[0] if tensor.scales else None,
            zero_point=tensor.zero_points[0] if tensor.zero_points else None,
        )
        for name, tensor in named.items()
    )


def _verify(source, recipe, converted, examples, output) -> ExportResult:
    facts = flatbuffer.read(converted.content)
    checks = verification.inspect(facts, recipe, source, converted)
    agreements = []
    try:
        agreements = verification.compare(converted.content, source, examples)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        checks.append(Check("runs on LiteRT", False, reason))
    checks += verification.judge(agreements, recipe, facts)
    return ExportResult(
        model=source.origin,
        output=str(output),
        quantize=recipe.quantize,
        io_dtype=recipe.io_dtype,
        inputs=_endpoints(facts, "inputs"),
        outputs=_endpoints(facts, "outputs"),
        model_size=source.size,
        size=facts.size,
        operators=facts.operator_counts,
        examples=agreements[0].examples if agreements else 0,
        examples_origin=examples.origin,
        agreements=tuple(agreements),
        checks=tuple(checks),
        float_layers=converted.float_layers,
    )
