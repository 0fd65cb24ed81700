"""The values that the operators of a file compute, and their ranges."""

import numpy as np
from ai_edge_litert import interpreter as litert

from tfconv_export import flatbuffer
from tfconv_export.calibration import Examples
from tfconv_export.errors import CheckError
from tfconv_export.flatbuffer import OperatorFacts
from tfconv_export.flatbuffer import TensorFacts
from tfconv_export.quantization.layer_names import layer_of
from tfconv_export.runtimes import quantize

_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")

# Where the output of another operator goes to these alone, the converter gives
# it the range of what they compute.
_SELECTIONS = ("MAXIMUM", "MINIMUM", "SELECT", "SELECT_V2")


def check_finite(
    float_content: bytes, examples: Examples, scopes: dict[str, str]
) -> None:
    """Makes sure that every activation has a range that can be quantized.

    Where one has not, the converter would end the process in int8.

    Args:
        float_content: bytes of the float32 file of a model.
        examples: the representative data.
        scopes: `Conversion.scopes`, by which the layers get their own names.

    Raises:
        CheckError: if an activation is infinite on some example, or spans
            more than float32 can hold.
    """
    try:
        run = ActivationRun(float_content)
        ranges = run.ranges(examples)
    except (RuntimeError, ValueError):
        return  # LiteRT does not run it, which is for the checks to say.
    operators = run.operators()
    for operator in operators:
        for output in operator.outputs:
            low, high = ranges.get(output.name, (0.0, 0.0))
            with np.errstate(over="ignore", invalid="ignore"):
                is_infinite = np.isinf(np.float32(high) - np.float32(low))
            consumers = [
                other.name for other in operators if output in other.inputs
            ]
            is_selected = consumers and all(
                name in _SELECTIONS for name in consumers
            )
            if is_infinite and not is_selected:
                layer = layer_of(operator, run.facts, scopes)
                raise CheckError(
                    f"Layer {layer} computes values from {low:.3g} to "
                    f"{high:.3g} on the representative data, a range that "
                    "cannot be quantized; keep them finite, as log(x + 1e-6) "
                    "does, scale the data, or use --quantize=none."
                )


class ActivationRun:
    """A file that is run with all its tensors kept.

    It runs on LiteRT's builtin kernels, one example at a time.

    Args:
        content: bytes of a TFLite file that the converter made.

    Attributes:
        facts: what is in the file.

    Raises:
        RuntimeError or ValueError: if LiteRT does not run the file.
    """

    def __init__(self, content: bytes):
        self.facts = flatbuffer.read(content)
        self._interpreter = litert.Interpreter(
            model_content=content,
            # Delegates keep what is between their operators to themselves.
            experimental_op_resolver_type=(
                litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
        self._interpreter.allocate_tensors()
        self._runner = self._interpreter.get_signature_runner()
        self._inputs = self._runner.get_input_details()
        # Names are unique in a file that the converter made.
        self._indices = {
            details["name"]: details["index"]
            for details in self._interpreter.get_tensor_details()
        }

    def run(self, example: dict[str, np.ndarray]) -> None:
        if self.facts.keeps_state:
            self._interpreter.reset_all_variables()
        self._runner(
            **{
                name: quantize(value, self._inputs[name])
                for name, value in example.items()
            }
        )

    def ranges(self, examples: Examples) -> dict[str, tuple[float, float]]:
        """The least and the greatest value of every float32 activation.

        Those of what an operator computes, on any of the examples, by the
        name of the tensor; NaN is left out.
        """
        found = {}
        names = [
            tensor.name
            for operator in self.operators()
            for tensor in operator.outputs
            if tensor.dtype == "float32"
        ]
        for example in examples:
            self.run(example)
            for name in names:
                value = self._interpreter.get_tensor(self._indices[name])
                if value.size:
                    low, high = found.get(name, (np.inf, -np.inf))
                    found[name] = (
                        np.fmin(low, np.fmin.reduce(value, axis=None)),
                        np.fmax(high, np.fmax.reduce(value, axis=None)),
                    )
        return found

    def value(self, tensor: TensorFacts) -> np.ndarray:
        """Real numbers, float64, of an activation or of weights."""
        value = self._interpreter.get_tensor(self._indices[tensor.name])
        if not tensor.scales:
            return value.astype(np.float64)
        return (value.astype(np.float64) - tensor.zero_points[0]) * (
            tensor.scales[0]
        )

    def operators(self) -> list[OperatorFacts]:
        """Those that compute on activations."""
        return [
            operator
            for operator in self.facts.operators
            if operator.name not in _CONVERSIONS
            # Those of other subgraphs cannot be looked into.
            and all(t.name in self._indices for t in operator.outputs)
            and any(t is not None and not t.constant for t in operator.inputs)
        ]

    def inputs(self) -> dict[str, TensorFacts]:
        if not self.facts.signatures:
            return {tensor.name: tensor for tensor in self.facts.inputs}
        return self.facts.signatures[0].inputs
