"""Streaming files on every runtime, by loops of the tests' own."""

import dataclasses
import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
from ai_edge_litert import interpreter as litert

_RESOLVERS = {
    "xnnpack": litert.OpResolverType.AUTO,
    "builtin": litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": litert.OpResolverType.BUILTIN_REF,
}
_HAS_MICRO = importlib.util.find_spec("tflite_micro") is not None
RUNTIMES = [*_RESOLVERS, *["micro"] * _HAS_MICRO]
PARAMETERS = [
    *_RESOLVERS,
    pytest.param(
        "micro",
        marks=pytest.mark.skipif(
            not _HAS_MICRO, reason="TFLite Micro is not installed"
        ),
    ),
]

ARENA = 1 << 20

Values = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Held:
    """A state that the caller keeps: names, and the first value."""

    name: str
    output_name: str
    first: np.ndarray


class File:
    """A file on one runtime: what its tensors hold, in and out, by name.

    Args:
        content: bytes of a file whose first signature is the model.
        runtime: string, one of `RUNTIMES`.
        arena: int, bytes that TFLite Micro gets.
    """

    def __init__(self, content: bytes, runtime: str, arena: int = ARENA):
        # LiteRT says where TFLite Micro's inputs and outputs are.
        self.interpreter = litert.Interpreter(
            model_content=content,
            experimental_op_resolver_type=_RESOLVERS.get(
                runtime, litert.OpResolverType.BUILTIN_REF
            ),
            num_threads=1,
        )
        self.interpreter.allocate_tensors()
        keys = set(self.interpreter.get_signature_list()) - {"reset"}
        self._runner = self.interpreter.get_signature_runner(*keys)
        self.inputs = self._runner.get_input_details()
        self.outputs = self._runner.get_output_details()
        self._micro = None
        if runtime == "micro":
            from tflite_micro.python.tflite_micro import runtime as tflm

            self._micro = tflm.Interpreter.from_bytes(content, arena_size=arena)

    def run(self, **inputs: np.ndarray) -> Values:
        if self._micro is None:
            made = self._runner(**inputs)
            return {name: value.copy() for name, value in made.items()}
        taken, given = (
            [details["index"] for details in ends]
            for ends in (
                self.interpreter.get_input_details(),
                self.interpreter.get_output_details(),
            )
        )
        for name, value in inputs.items():
            place = taken.index(self.inputs[name]["index"])
            self._micro.set_input(value, place)
        self._micro.invoke()
        return {
            name: self._micro.get_output(given.index(details["index"]))
            for name, details in self.outputs.items()
        }

    def reset(self) -> None:
        """As a program begins a new stream, of a file that has its states."""
        if self._micro is None:
            self.interpreter.get_signature_runner("reset")()
        else:
            self._micro.reset()

    def stored(self, values: np.ndarray, name: str) -> np.ndarray:
        """Real numbers as the input holds them."""
        scale, zero_point = self.inputs[name]["quantization"]
        if not scale:
            return values
        limits = np.iinfo(self.inputs[name]["dtype"])
        steps = np.rint(values / scale) + zero_point
        return np.clip(steps, limits.min, limits.max).astype(limits.dtype)


def held(content: bytes) -> list[Held]:
    """The states of a file that has them as inputs and outputs."""
    details = File(content, "reference").inputs
    return [
        Held(
            name,
            f"{name}_next",
            np.full(item["shape"], item["quantization"][1], item["dtype"]),
        )
        for name, item in details.items()
        if name.startswith("state_")
    ]


def stream(
    file: File, states: list[Held], hop: int, values: np.ndarray
) -> Iterator[Values]:
    """The outputs of every hop of a signal `(1, t, c)` of real numbers.

    `states` are those that the caller keeps: none, if the file holds them.
    """
    (name,) = set(file.inputs) - {state.name for state in states}
    kept = {state.name: state.first for state in states}
    for start in range(0, values.shape[1] - hop + 1, hop):
        frames = file.stored(values[:, start : start + hop], name)
        outputs = file.run(**{name: frames}, **kept)
        kept = {state.name: outputs.pop(state.output_name) for state in states}
        yield outputs


def assert_same(found: list[Values], expected: list[Values]) -> None:
    """Holds if all are equal in every bit, and there is something."""
    assert found
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) == set(theirs)
        for name, value in theirs.items():
            assert ours[name].dtype == value.dtype
            np.testing.assert_array_equal(ours[name], value)


def signal(frames: int, channels: int, seed: int = 0) -> np.ndarray:
    """Tones that come and go, with drift and noise, `(1, frames, channels)`."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None]
    tones = np.sin(time * rng.uniform(0.05, 1.0, channels))
    loudness = 1 + np.sin(time / 40 + rng.uniform(0, 6, channels))
    noise = 0.2 * rng.standard_normal((frames, channels))
    return (tones * loudness + noise + 0.3)[None].astype(np.float32)
