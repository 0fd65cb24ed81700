"""One face over the interpreters that run a TFLite file."""

from typing import Protocol

import numpy as np
from ai_edge_litert import interpreter as litert

from tfconv_export import flatbuffer
from tfconv_export.flatbuffer import Facts

# The signature that begins a new stream, of files that hold their states.
RESET = "reset"

_RESOLVERS = {
    "xnnpack": litert.OpResolverType.AUTO,
    "builtin": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": litert.OpResolverType.BUILTIN_REF,
}
KERNELS = tuple(_RESOLVERS)

# Each operator that the converter makes in integers was compared with NumPy on
# every runtime. These are not what they should be, by what they make.
WRONG_IN_REFERENCE = {
    ("SUM", "int8"): "adds up int8 as if it were uint8",
    ("SUM", "int16"): "computes noise in int16",
    ("RSQRT", "int16"): "keeps 9 bits of int16",
}
WRONG_EVERYWHERE = {
    ("SUM", "int16"): "no runtime gives it its scale: multiply a mean by the "
    "number of frames, or choose --quantize=int8",
}


class Runtime(Protocol):
    """An interpreter that has loaded a file.

    What operators keep from one invocation to the next begins anew with every
    run; see `Facts.keeps_state`. States that a streaming file holds do not.

    Attributes:
        name: string.
        is_slow: bool, whether its kernels take many times as long as LiteRT's.
        holds_states: bool, whether the file keeps states from run to run.
    """

    name: str
    is_slow: bool
    holds_states: bool

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """From real numbers to real numbers, by name."""

    def step(self, output: str) -> float | None:
        """The step of an output's quantization; `None` if it has none."""

    def reset(self) -> None:
        """Gives the states that the file holds their initial values."""


class LiteRT:
    """The LiteRT interpreter with one of its sets of kernels.

    Args:
        content: bytes of a TFLite file.
        kernels: string, `"xnnpack"` (what phones run), `"builtin"` or
            `"reference"` (what microcontrollers run).

    Attributes:
        name: string.
        is_slow: bool, whether its kernels take many times as long.
        holds_states: bool, whether the file keeps states from run to run, and
            has a signature to reset them.
        inputs: the interpreter's details of each input, by name.
        outputs: those of each output.

    Raises:
        ValueError or RuntimeError: if LiteRT cannot run the file.
    """

    def __init__(self, content: bytes, kernels: str = "xnnpack"):
        self.name = f"LiteRT {kernels}"
        self.is_slow = kernels == "reference"
        self._interpreter = litert.Interpreter(
            model_content=content,
            experimental_op_resolver_type=_RESOLVERS[kernels],
            num_threads=1,
        )
        self._interpreter.allocate_tensors()
        facts = flatbuffer.read(content)
        self._keeps_state = facts.keeps_state
        keys = list(self._interpreter.get_signature_list())
        key = None
        self.holds_states = (
            RESET in keys and "READ_VARIABLE" in facts.operator_counts
        )
        if self.holds_states:
            self._reset = self._interpreter.get_signature_runner(RESET)
            key = next(key for key in keys if key != RESET)
        self._runner = self._interpreter.get_signature_runner(key)
        self.inputs = self._runner.get_input_details()
        self.outputs = self._runner.get_output_details()

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the file once.

        Args:
            inputs: values by input name. Those of a quantized input are real
                numbers, and are quantized here.

        Returns:
            Real numbers (float32, or the output's own dtype if it is not
            quantized) by output name.
        """
        return self.real(self.invoke(self.stored(inputs)))

    def step(self, output: str) -> float | None:
        """The step of an output's quantization; `None` if it has none."""
        scale, _ = self.outputs[output]["quantization"]
        return float(scale) or None

    def stored(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Real numbers as the file's inputs hold them."""
        return {
            name: quantize(np.asarray(value), self.inputs[name])
            for name, value in inputs.items()
        }

    def real(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Converts what the file's outputs hold to real numbers."""
        return {
            name: dequantize(value, self.outputs[name])
            for name, value in outputs.items()
        }

    def invoke(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the file once, on what its inputs hold.

        Args:
            inputs: values by input name, in the dtypes of the file.

        Returns:
            What its outputs hold, by output name.
        """
        if self._keeps_state:
            self._interpreter.reset_all_variables()
        return self._runner(**inputs)

    def reset(self) -> None:
        """Gives the states that the file holds their initial values."""
        if self.holds_states:
            self._reset()


def wrong_in_reference(facts: Facts) -> str:
    """Why LiteRT's reference kernels cannot judge a file; else empty."""
    for operator in facts.operators:
        for tensor in operator.outputs:
            reason = WRONG_IN_REFERENCE.get((operator.name, tensor.dtype))
            if reason:
                return f"LiteRT's reference {operator.name} {reason}"
    return ""


def quantize(values: np.ndarray, details: dict) -> np.ndarray:
    """Real numbers -> what a tensor with these interpreter details holds.

    TFLite's affine quantization: `real = scale * (quantized - zero_point)`.
    """
    dtype = details["dtype"]
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    quantized = np.round(values / np.float64(scale)) + zero_point
    return np.clip(quantized, limits.min, limits.max).astype(dtype)


def dequantize(values: np.ndarray, details: dict) -> np.ndarray:
    """The inverse of `quantize`."""
    scale, zero_point = details["quantization"]
    if not scale:
        return values
    real = (values.astype(np.float64) - zero_point) * scale
    return real.astype(np.float32)
