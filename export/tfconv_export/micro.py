"""TFLite Micro: whether it runs a file, what it computes, what it needs."""

import functools
import importlib.util
import re
import subprocess
import sys

import numpy as np

from tfconv_export import flatbuffer
from tfconv_export import micro_refusals
from tfconv_export import runtimes
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.flatbuffer import Facts
from tfconv_export.flatbuffer import TensorFacts

# TFLite Micro asks for an arena at multiples of this many bytes.
ARENA_ALIGNMENT = 16

# Far more than any microcontroller has; pages that nothing touches cost none.
_LARGE_ARENA = 1 << 28

# Runs a file once, on zeros.
_PROBE = """
import sys
import numpy as np
from tflite_micro.python.tflite_micro import runtime

content = sys.stdin.buffer.read()
inputs, arena_size = map(int, sys.argv[1:])
interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena_size)
for index in range(inputs):
    details = interpreter.get_input_details(index)
    zeros = np.zeros(details["shape"], details["dtype"])
    interpreter.set_input(zeros, index)
interpreter.invoke()
interpreter.print_allocations()
"""

# The registering methods that are not the operator's name in CamelCase.
_METHODS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
    "ethos-u": "EthosU",
}


class TFLiteMicro:
    """TFLite Micro's interpreter with its reference kernels.

    The file is first run in a process of its own: TFLite Micro writes to
    stderr what it does not like, and does not survive all of it.

    Args:
        content: bytes of a TFLite file.
        scopes: `Conversion.scopes`, by which a message names layers.

    Attributes:
        name: string.
        holds_states: bool, whether the file keeps states from run to run.
        arena_bytes: int, the smallest arena in which the file runs here: a
            multiple of 16 bytes. It is TFLite Micro's own allocator that
            decides, on a 64-bit host and with reference kernels. A 32-bit
            microcontroller needs less for the same, as its pointers are
            shorter; kernels optimized for it, such as CMSIS-NN's, may ask for
            scratch memory on top.

    Raises:
        CheckError: if TFLite Micro cannot run the file.
        UsageError: if it is not installed.
    """

    def __init__(self, content: bytes, scopes: dict[str, str] | None = None):
        check_installed()
        from tflite_micro.python.tflite_micro import runtime

        self.name = "TFLite Micro"
        self.is_slow = True
        facts = flatbuffer.read(content)
        self.holds_states = _variables(facts) > 0
        self._keeps_state = facts.keeps_state
        self._content, self._count = content, len(facts.inputs)
        check_runs(content, facts, scopes)
        self._interpreter = runtime.Interpreter.from_bytes(
            content, arena_size=_LARGE_ARENA
        )
        signature = facts.signatures[0]
        self._inputs = _places(signature.inputs, facts.inputs)
        self._outputs = _places(signature.outputs, facts.outputs)

    @functools.cached_property
    def arena_bytes(self) -> int:
        return _smallest_arena(self._content, self._count)

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
        _, details = self._outputs[output]
        return float(details["quantization"][0]) or None

    def stored(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Real numbers as the file's inputs hold them."""
        return {
            name: runtimes.quantize(np.asarray(value), self._inputs[name][1])
            for name, value in inputs.items()
        }

    def real(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Converts what the file's outputs hold to real numbers."""
        return {
            name: runtimes.dequantize(value, self._outputs[name][1])
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
            self._interpreter.reset()
        for name, value in inputs.items():
            self._interpreter.set_input(value, self._inputs[name][0])
        self._interpreter.invoke()
        return {
            name: self._interpreter.get_output(index)
            for name, (index, _) in self._outputs.items()
        }

    def reset(self) -> None:
        """Gives the states that the file holds their initial values.

        Those are the zero points, which TFLite Micro gives to variables itself
        when they are reset: it runs an initialization only once.
        """
        if self.holds_states:
            self._interpreter.reset()


def resolver(facts: Facts) -> str:
    """C++ that registers a file's operators, and no others.

    Args:
        facts: of the file that the microcontroller gets.

    Returns:
        Lines for a function that returns a `TfLiteStatus`.
    """
    names = {operator.name: operator for operator in facts.operators}
    calls = sorted(_call(operator) for operator in names.values())
    return "\n".join(
        [
            f"tflite::MicroMutableOpResolver<{len(calls)}> resolver;",
            *(f"TF_LITE_ENSURE_STATUS(resolver.{call});" for call in calls),
            *_states(_variables(facts)),
            *_window_state(facts),
        ]
    )


def _variables(facts: Facts) -> int:
    """How many resource variables a file has; each is read."""
    return facts.operator_counts.get("READ_VARIABLE", 0)


def _states(variables: int) -> list[str]:
    if not variables:
        return []
    return [
        "// The file holds its states, in variables of the same arena:",
        "// tflite::MicroAllocator* allocator =",
        "//     tflite::MicroAllocator::Create(arena, arena_size);",
        "// tflite::MicroInterpreter interpreter(",
        "//     model, resolver, allocator,",
        "//     tflite::MicroResourceVariables::Create(allocator, "
        f"{variables}));",
        "// interpreter.Reset() begins a new stream.",
    ]


def _window_state(facts: Facts) -> list[str]:
    if not facts.keeps_state:
        return []
    return [
        "// An operator keeps its state from one invocation to the next:",
        "// call interpreter.Reset() before every window.",
    ]


def method(operator: str) -> str:
    """The name of the resolver's method that registers an operator."""
    words = [
        "2D" if word == "2D" else word.capitalize()
        for word in operator.split("_")
    ]
    return "Add" + _METHODS.get(operator, "".join(words))


def _call(operator: flatbuffer.OperatorFacts) -> str:
    if operator.is_custom and operator.name not in _METHODS:
        return f'AddCustom("{operator.name}", &registration)'
    return f"{method(operator.name)}()"


def is_installed() -> bool:
    """Says whether TFLite Micro is there."""
    return importlib.util.find_spec("tflite_micro") is not None


def check_installed() -> None:
    """Raises a `UsageError` if TFLite Micro is not installed."""
    if not is_installed():
        raise UsageError(
            "--target=micro needs the package tflite-micro, which exists for "
            "Linux on x86-64: pip install 'tfconv[micro]'."
        )


def check_runs(
    content: bytes, facts: Facts, scopes: dict[str, str] | None = None
) -> None:
    """Raises a `CheckError` that names the layer if a file does not run.

    Args:
        content: bytes of the file.
        facts: what is in it.
        scopes: `Conversion.scopes`, by which the message names layers.
    """
    try:
        _occupied_arena(content, len(facts.inputs))
    except _DoesNotRun as error:
        (failed,) = error.args
        raise CheckError(
            micro_refusals.sentence(
                failed.returncode, failed.stderr, facts, scopes or {}
            )
        ) from None


def _places(
    named: dict[str, TensorFacts], ordered: tuple[TensorFacts, ...]
) -> dict[str, tuple[int, dict]]:
    """Each name's place in the order, and its details as LiteRT has them."""
    return {
        name: (
            next(i for i, other in enumerate(ordered) if other is tensor),
            {
                "dtype": np.dtype(tensor.dtype),
                "quantization": (
                    (tensor.scales[0], tensor.zero_points[0])
                    if tensor.scales
                    else (0.0, 0)
                ),
            },
        )
        for name, tensor in named.items()
    }


class _DoesNotRun(Exception):
    """A run that failed, as its first argument."""


# A file is loaded to be compared and to be judged.
@functools.lru_cache(maxsize=4)
def _occupied_arena(content: bytes, inputs: int) -> int:
    """How many bytes of a large arena a file with `inputs` inputs occupies.

    Raises:
        _DoesNotRun: if it does not run.
    """
    plenty = _probe(content, inputs, _LARGE_ARENA)
    recorded = re.search(r"Arena allocation total (\d+) bytes", plenty.stderr)
    if plenty.returncode or not recorded:
        raise _DoesNotRun(plenty)
    return int(recorded[1])


@functools.lru_cache(maxsize=4)
def _smallest_arena(content: bytes, inputs: int) -> int:
    """Bytes of the smallest arena in which the file runs.

    TFLite Micro records how much of an arena is occupied in the end. To plan
    it takes more, and gives it back: small files with many operators do not
    run in what they occupy. So the search goes upwards from there.
    """

    def fits(units: int) -> bool:
        arena = units * ARENA_ALIGNMENT
        return _probe(content, inputs, arena).returncode == 0

    smallest = -(-_occupied_arena(content, inputs) // ARENA_ALIGNMENT)
    if fits(smallest):
        return smallest * ARENA_ALIGNMENT
    large = _LARGE_ARENA // ARENA_ALIGNMENT
    too_small, enough = smallest, 2 * smallest
    while enough < large and not fits(enough):
        too_small, enough = enough, min(2 * enough, large)
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        if fits(middle):
            enough = middle
        else:
            too_small = middle
    return enough * ARENA_ALIGNMENT


def _probe(
    content: bytes, inputs: int, arena: int
) -> subprocess.CompletedProcess:
    """Runs the file in a process of its own, in an arena of so many bytes."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(inputs), str(arena)],
        input=content,
        capture_output=True,
    )
    done.stderr = done.stderr.decode(errors="replace")
    return done
