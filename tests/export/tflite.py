"""A TFLite file as its user sees it: through LiteRT, not through tfconv.

The kernels are LiteRT's reference ones, which microcontrollers run, unless a
test asks for others.
"""

import collections
import os
import pathlib

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

# Unpacking weights and reshaping do not compute.
_NOT_ARITHMETIC = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "TRANSPOSE")


_KERNELS = {
    "xnnpack": litert.OpResolverType.AUTO,
    "builtin": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": litert.OpResolverType.BUILTIN_REF,
    # Runs on TFLite Micro; LiteRT says what its inputs and outputs are.
    "micro": litert.OpResolverType.BUILTIN_REF,
}


class TFLiteFile:
    """A file, or the bytes of one, read and run.

    Args:
        file: path or bytes.
        kernels: string, one of LiteRT's: `"xnnpack"`, `"builtin"` or
            `"reference"`; or `"micro"`, TFLite Micro.

    Attributes:
        model: `ModelT` of the flatbuffer.
        inputs: the interpreter's details of each input, by signature name.
        outputs: those of each output.
    """

    def __init__(
        self, file: "os.PathLike | str | bytes", kernels: str = "reference"
    ):
        content = (
            file if isinstance(file, bytes) else pathlib.Path(file).read_bytes()
        )
        self.model = flatbuffer_utils.read_model_from_bytearray(
            bytearray(content)
        )
        self._interpreter = litert.Interpreter(
            model_content=content,
            experimental_op_resolver_type=_KERNELS[kernels],
        )
        self._interpreter.allocate_tensors()
        self._runner = self._interpreter.get_signature_runner()
        self.inputs = self._runner.get_input_details()
        self.outputs = self._runner.get_output_details()
        if kernels == "micro":
            self._runner = self._on_tflite_micro(content)

    def _on_tflite_micro(self, content: bytes):
        from tflite_micro.python.tflite_micro import runtime

        interpreter = runtime.Interpreter.from_bytes(
            content, arena_size=1 << 20
        )
        # Of one input and one output: it knows no names.
        (given,), (taken,) = self.inputs, self.outputs

        def runner(**inputs):
            interpreter.set_input(inputs[given], 0)
            interpreter.invoke()
            return {taken: interpreter.get_output(0)}

        return runner

    def run(self, examples) -> dict[str, np.ndarray]:
        """Real numbers -> real numbers: examples `(n, ...)`, one at a time.

        They are an array for a file of one input, else a dict by input.
        """
        if not isinstance(examples, dict):
            (name,) = self.inputs
            examples = {name: examples}
        results = [
            self._runner(
                **{
                    name: _quantize(values[index][None], self.inputs[name])
                    for name, values in examples.items()
                }
            )
            for index in range(len(next(iter(examples.values()))))
        ]
        return {
            name: np.concatenate(
                [_dequantize(result[name], details) for result in results]
            )
            for name, details in self.outputs.items()
        }

    def run_one_output(self, examples: np.ndarray) -> np.ndarray:
        """As `run`, of a file that has one output."""
        (result,) = self.run(examples).values()
        return result

    def tensor(self, index: int) -> dict:
        """The interpreter's details of a tensor of the main subgraph."""
        return next(
            details
            for details in self._interpreter.get_tensor_details()
            if details["index"] == index
        )

    @property
    def operators(self) -> collections.Counter:
        """How often each operator occurs, in all subgraphs."""
        return _operators(self.model)

    def operands(self, name: str) -> list[list[int]]:
        """The input tensors of each operator of this name."""
        return [
            list(operator.inputs)
            for operator in self.model.subgraphs[0].operators
            if _name(self.model, operator) == name
        ]

    def way_to(self, output: str) -> list[str]:
        """The operators between the input and this output that compute.

        Those that unpack weights, reshape or transpose are left out.
        """
        main = self.model.subgraphs[0]
        producer = {
            tensor: operator
            for operator in main.operators
            for tensor in operator.outputs
        }
        wanted, found = [self.outputs[output]["index"]], []
        while wanted:
            operator = producer.pop(wanted.pop(), None)
            if operator is None:
                continue
            found.append(_name(self.model, operator))
            wanted.extend(operator.inputs)
        return [name for name in found[::-1] if name not in _NOT_ARITHMETIC]


def operators_in(content: bytes) -> collections.Counter:
    """How often each operator occurs in a file, which need not run."""
    return _operators(
        flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    )


def _operators(model) -> collections.Counter:
    return collections.Counter(
        _name(model, operator)
        for subgraph in model.subgraphs
        for operator in subgraph.operators
    )


def _name(model, operator) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return next(
        name
        for name, value in vars(schema.BuiltinOperator).items()
        if value == number
    )


def _quantize(values: np.ndarray, details: dict) -> np.ndarray:
    scale, zero_point = details["quantization"]
    if scale == 0:
        return values.astype(details["dtype"])
    limits = np.iinfo(details["dtype"])
    steps = np.rint(values.astype(np.float64) / scale) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(details["dtype"])


def _dequantize(values: np.ndarray, details: dict) -> np.ndarray:
    scale, zero_point = details["quantization"]
    if scale == 0:
        return values
    return (values.astype(np.float64) - zero_point) * scale
