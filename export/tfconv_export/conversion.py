"""Source and recipe -> TFLite bytes: the only user of the converter."""

import dataclasses
import re
import warnings

import keras
import numpy as np
import tensorflow as tf

from tfconv import ops
from tfconv_export import argument_names
from tfconv_export import concatenations
from tfconv_export import files
from tfconv_export import graph_contents
from tfconv_export import process
from tfconv_export import recurrent
from tfconv_export import runtimes
from tfconv_export import sequence_lstm
from tfconv_export import trial
from tfconv_export.calibration import Examples
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.progress import Progress
from tfconv_export.progress import silent
from tfconv_export.progress import tracked
from tfconv_export.quantization import activations
from tfconv_export.quantization import biases
from tfconv_export.quantization import float_layers
from tfconv_export.quantization import int4
from tfconv_export.quantization import integer_operators
from tfconv_export.quantization import layer_names
from tfconv_export.quantization import scales
from tfconv_export.source import Source

# Mode -> the I/O dtypes it can have, the default first.
IO_DTYPES = {
    "none": ("float32",),
    "float16": ("float32",),
    "dynamic": ("float32",),
    "int8": ("int8", "uint8", "float32"),
    "int16x8": ("int16", "float32"),
    "int4": ("int8", "uint8", "float32"),
}

_INTEGER_OPS = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int4": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": (
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    ),
}

_SECONDS_TO_RUN = 60

# What the converter says of an operator that it does not know in int16x8.
_NO_INT16 = "Quantization to 16x8-bit not yet supported"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What kind of numbers the file is to compute with.

    Attributes:
        quantize: string, `"none"` (float32), `"float16"` (weights in
            float16), `"dynamic"` (weights in int8, activations quantized as
            they come), `"int8"` (all in int8), `"int16x8"` (activations in
            int16, weights in int8) or `"int4"` (as int8, but with convolutions
            of 4-bit weights: experimental, see `int4`).
        io_dtype: string, the dtype of the file's input and outputs; `None`
            is the mode's default.
        float_layers: tuple of regular expressions; the layers in whose name
            one is found (`re.search`) stay in float32, in the integer modes.

    Raises:
        UsageError: if there is no such mode, or it has no such I/O, or its
            layers cannot be in float.
    """

    quantize: str = "none"
    io_dtype: str | None = None
    float_layers: tuple[str, ...] = ()

    def __post_init__(self):
        if self.quantize not in IO_DTYPES:
            raise UsageError(
                f"--quantize={self.quantize} is unknown; it must be one of "
                f"{', '.join(IO_DTYPES)}."
            )
        allowed = IO_DTYPES[self.quantize]
        if self.io_dtype is None:
            object.__setattr__(self, "io_dtype", allowed[0])
        if self.io_dtype not in allowed:
            raise UsageError(
                f"--io_dtype={self.io_dtype} is not possible with "
                f"--quantize={self.quantize}; it must be one of "
                f"{', '.join(allowed)}."
            )
        if self.float_layers and not self.is_integer:
            raise UsageError(
                f"--float_layers={','.join(self.float_layers)} is not possible "
                f"with --quantize={self.quantize}; use it with "
                f"{', '.join(_INTEGER_OPS)}."
            )

    @property
    def is_integer(self) -> bool:
        """Whether the file computes with integers, but in `float_layers`."""
        return self.quantize in _INTEGER_OPS


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What the converter made.

    Attributes:
        content: bytes of the TFLite file.
        depthwise_ops: int, how many depthwise convolutions the converter was
            given, or `None` if that is not known.
        scopes: dict from a name scope in the file to the Keras layer; see
            `layer_names.recording`.
        float_content: bytes of the float32 file of the same graph, in the
            integer modes; `None` in the others.
        float_layers: the layers that were kept in float.
        float_tensors: the names of the tensors that their operators compute.
    """

    content: bytes
    depthwise_ops: int | None
    scopes: dict[str, str] = dataclasses.field(default_factory=dict)
    float_content: bytes | None = None
    float_layers: tuple[str, ...] = ()
    float_tensors: frozenset[str] = frozenset()


def convert(
    source: Source,
    recipe: Recipe,
    examples: Examples | None,
    *,
    streams: bool = False,
    progress: Progress = silent,
) -> Conversion:
    """Converts a source at a batch of 1.

    Args:
        source: one whose shape is fixed.
        recipe: what to make.
        examples: the representative data, for the integer modes.
        streams: bool, whether the file is to run hop by hop.
        progress: called with how many examples it was calibrated on.

    Raises:
        CheckError: if the converter finds no way with TFLite's own operators.
        UsageError: if there is no such layer to keep in float.
    """
    arguments = argument_names.for_function(item.name for item in source.inputs)
    specs = {
        name: tf.TensorSpec((1, *item.shape), item.dtype, name=name)
        for name, item in zip(arguments.values(), source.inputs, strict=True)
    }
    counts, scopes, traced = [], {}, {}

    def serve(**inputs):
        with ops.exporting(), layer_names.recording(traced) as recorded:
            outputs = source.exported(
                {name: inputs[given] for name, given in arguments.items()}
            )
        graph = tf.compat.v1.get_default_graph()
        types = [operation.type for operation in graph.get_operations()]
        counts.append(types.count("DepthwiseConv2dNative"))
        scopes.update(recorded)
        return outputs

    with files.temporary_directory() as directory:
        # By way of a SavedModel: converting the function itself leaves its
        # variables unfrozen, and a file that computes NaN.
        function = tf.function(serve, autograph=False)
        concrete = function.get_concrete_function(**specs)
        _check_graph(
            concrete.graph.as_graph_def(),
            recipe,
            source,
            # Of a step, no layer is within another.
            {key: scopes[key] or layer.name for key, layer in traced.items()},
            streams,
        )
        kernels = recurrent.kernels(traced)
        # The converter has no use for gradients, which would be traced.
        options = tf.saved_model.SaveOptions(
            experimental_custom_gradients=False
        )
        if source.kind == "keras":
            archive = keras.export.ExportArchive()
            archive.track(source.trackable)
            archive.add_endpoint("serve", function)
            archive.write_out(directory, options, verbose=False)
        else:
            module = tf.Module()
            module.source = source.trackable
            tf.saved_model.save(
                module,
                directory,
                signatures={"serving_default": concrete},
                options=options,
            )
        float_content = None
        if recipe.is_integer:
            float_content = _converted(directory, Recipe(), source, None)
            float_content = sequence_lstm.mended(float_content, kernels)
            float_content = argument_names.restored(float_content, arguments)
        if recipe.quantize in ("int8", "int4"):
            activations.check_finite(float_content, examples, scopes)
        content = _converted(
            directory,
            recipe,
            source,
            lambda: (
                {given: example[name] for name, given in arguments.items()}
                for example in tracked(examples, "calibrating", progress)
            ),
        )
        content = sequence_lstm.mended(content, kernels)
        if recipe.is_integer:
            content = scales.corrected(content)
        content = argument_names.restored(content, arguments)
    if recipe.quantize == "int4":
        content = int4.with_int4_weights(content, float_content)
    layers, names = (), frozenset()
    if recipe.float_layers:
        layers = float_layers.matching(
            recipe.float_layers, float_layers.layers_of(float_content, scopes)
        )
        content, names = float_layers.keep_in_float(
            content, float_content, layers, scopes
        )
    _check_that_it_opens(content)
    known = source.kind == "keras"
    return Conversion(
        content,
        counts[-1] if known else None,
        scopes,
        float_content,
        float_layers=layers,
        float_tensors=names,
    )


def _check_that_it_opens(content: bytes) -> None:
    """Refuses a file that would end the process of whoever runs it."""

    def run():
        interpreter = runtimes.LiteRT(content, "builtin")
        interpreter.invoke(
            {
                name: np.zeros(details["shape"], details["dtype"])
                for name, details in interpreter.inputs.items()
            }
        )

    signum = trial.crash(run, _SECONDS_TO_RUN)
    if signum not in (None, "SIGXCPU"):  # which is slow
        raise CheckError(
            f"LiteRT ends with {signum} on the file that the converter makes "
            "of this model; use another --quantize mode, or keep the layer "
            "with an unusual range or constant in float (--float_layers)."
        )


def _check_graph(
    graph_def, recipe: Recipe, source: Source, scopes, streams: bool
) -> None:
    """Refuses what no file can be made of, or what ends the process."""

    def layers(names: list[str]) -> list[str]:
        return [layer_names.layer_in(name, scopes) or name for name in names]

    assignments = graph_contents.assignments(graph_def)
    if assignments:
        raise CheckError(graph_contents.refuse_assignments(layers(assignments)))
    # The converter knows no LSTM with int16 activations.
    fuses = recipe.quantize != "int16x8"
    loops = graph_contents.loops(graph_def, fuses=fuses)
    if loops and streams:
        raise CheckError(graph_contents.refuse_streamed_loops(layers(loops)))
    if loops and recipe.is_integer:
        # The converter's process ends with a segmentation fault.
        raise CheckError(
            graph_contents.refuse_loops(
                layers(loops), recipe.quantize, source.kind == "keras"
            )
        )


def _converted(
    directory: str, recipe: Recipe, source, examples, may_leave_float=False
) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(directory)
    _configure(converter, recipe, source, examples)
    if may_leave_float:
        converter.target_spec.supported_ops.append(
            tf.lite.OpsSet.TFLITE_BUILTINS
        )
    with process.quiet(), warnings.catch_warnings():
        # It calibrates with an interpreter that it deprecates.
        warnings.filterwarnings("ignore", ".*Interpreter is deprec")
        try:
            content = converter.convert()
        except Exception as error:
            if may_leave_float or _NO_INT16 not in str(error):
                raise CheckError(
                    f"The model cannot be converted: {_reason(error)}"
                ) from error
            content = None
    if content is None:
        # What has no kernel stays in float, as in int8 without being asked.
        return _converted(
            directory, recipe, source, examples, may_leave_float=True
        )
    return _edited(content)


def _edited(content: bytes) -> bytes:
    """Edits what the converter made, so that all runtimes can run it."""
    for edit in (
        integer_operators.in_int8,
        integer_operators.without_marks,
        biases.with_own_scales,
        concatenations.nested,
    ):
        content = edit(content)
    return content


def _configure(converter, recipe: Recipe, source: Source, examples) -> None:
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if recipe.quantize == "none":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe.quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if not recipe.is_integer:
        return
    converter.target_spec.supported_ops = [_INTEGER_OPS[recipe.quantize]]
    converter.representative_dataset = examples
    io_dtype = tf.as_dtype(recipe.io_dtype)
    if any(item.dtype.is_floating for item in source.inputs):
        converter.inference_input_type = io_dtype
    converter.inference_output_type = io_dtype


def _reason(error: Exception) -> str:
    """The converter's words, without its pages of locations."""
    text = str(error)
    missing = re.findall(r"^(?:TF Select|Custom) ops: (.*)$", text, re.M)
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        return f"the model uses operators that TFLite does not have: {names}."
    if "TensorListReserve" in text:
        return (
            "it has a loop, and its batch is open; save it with a batch of 1, "
            "or give the .keras file."
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"loc\(.*\): ", "", (lines or [type(error).__name__])[0])[
        :300
    ]
