"""Does a streaming file compute what the model does of whole windows?"""

import importlib.util
import itertools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np

from tfconv.streaming import Plan
from tfconv_export import agreement
from tfconv_export.calibration import Example
from tfconv_export.calibration import Examples
from tfconv_export.errors import CheckError
from tfconv_export.micro import TFLiteMicro
from tfconv_export.reference import Reference
from tfconv_export.result import Check
from tfconv_export.runtimes import LiteRT
from tfconv_export.streaming_result import StreamingState

# Windows that are compared; reference kernels take 20 to 100 times as long.
_COMPARED = 200
_SLOW_COMPARED = 32

_RUNTIMES = {
    "LiteRT xnnpack": lambda content: LiteRT(content, "xnnpack"),
    "LiteRT builtin": lambda content: LiteRT(content, "builtin"),
    "LiteRT reference": lambda content: LiteRT(content, "reference"),
    "TFLite Micro": TFLiteMicro,
}
# Phones run the first two. A microcontroller stands in for the others.
_NEEDED = ("LiteRT xnnpack", "LiteRT builtin")

Outputs = dict[str, np.ndarray]


def signals(examples: Examples, plan: Plan) -> list[Example]:
    """What to stream: frames `(1, t, c)` by input, each from a reset on.

    One long signal of one example after the other, where the stream is the
    model at every hop; else one signal for each example, as long as the hops
    until the first full window.
    """
    wanted = plan.hop * (plan.hops_until_full + _COMPARED - 1)
    if not plan.every_hop:
        wanted = plan.hop * plan.hops_until_full
        return [
            {name: value[:, :wanted] for name, value in example.items()}
            for example in examples.sample(_COMPARED)
        ]
    count = -(-wanted // plan.window)
    found = list(examples.sample(count))
    found *= -(-count // len(found))
    return [
        {
            name: np.concatenate([example[name] for example in found], axis=1)[
                :, :wanted
            ]
            for name in found[0]
        }
    ]


def compare_exactly(
    content: bytes,
    whole: bytes,
    plan: Plan,
    states: Sequence[StreamingState],
    given: list[Example],
) -> list[Check]:
    """Whether two integer files agree in every bit, on every runtime.

    Args:
        content: bytes of the streaming file.
        whole: bytes of the file for whole windows.
        plan: of the stream.
        states: those of the streaming file that it does not hold itself.
        given: as from `signals`.
    """

    def judge(runtime: str, found, expected) -> Check:
        different = sum(
            not np.array_equal(*newest(ours[name], theirs[name]))
            for ours, theirs in zip(found, expected, strict=True)
            for name in theirs
        )
        return Check(
            f"{runtime}, the stream and whole windows",
            bool(found) and not different,
            f"{different} outputs of {len(found)} windows differ"
            if different or not found
            else f"equal in every bit, on {len(found)} windows",
        )

    def expected_on(make: Callable) -> Callable[[Example], Outputs]:
        runtime = make(whole)
        return lambda window: runtime.invoke(runtime.stored(window))

    return _compare(content, plan, states, given, expected_on, judge)


def compare_closely(
    content: bytes,
    reference: Reference,
    plan: Plan,
    states: Sequence[StreamingState],
    given: list[Example],
) -> list[Check]:
    """Whether a float file computes what the trained model does.

    Args:
        content: bytes of the streaming file.
        reference: the trained model.
        plan: of the stream.
        states: those of the streaming file that it does not hold itself.
        given: as from `signals`.
    """

    def judge(runtime: str, found, expected) -> Check:
        measured = []
        for name in expected[0] if expected else ():
            pairs = [
                newest(outputs[name], whole[name])
                for outputs, whole in zip(found, expected, strict=True)
            ]
            ours, theirs = map(np.stack, zip(*pairs, strict=True))
            bounds = reference.bounds[name]
            measured.append(
                agreement.measure(runtime, name, theirs, ours, bounds=bounds)
            )
        worst = max((item.relative_error for item in measured), default=0.0)
        passed = bool(measured) and all(
            map(agreement.is_within_float32, measured)
        )
        detail = f"max error {worst:.2g} of the range, on {len(found)} windows"
        if not passed:
            detail += f"; at most {agreement.MAX_FLOAT32_ERROR} is needed"
        return Check(f"{runtime}, the stream and the model", passed, detail)

    return _compare(content, plan, states, given, lambda _: reference, judge)


def newest(
    stream: np.ndarray, whole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of a hop's output and a window's, the last frames that both have.

    A window has more of them than a hop, or less, if it is little longer.
    """
    if stream.shape == whole.shape:
        return stream, whole
    frames = min(stream.shape[1], whole.shape[1])
    return stream[:, -frames:], whole[:, -frames:]


def _compare(content, plan, states, given, expected_on, judge) -> list[Check]:
    checks = []
    for name, make in _RUNTIMES.items():
        if name == "TFLite Micro" and not importlib.util.find_spec(
            "tflite_micro"
        ):
            continue
        try:
            runtime = make(content)
            expected_of = expected_on(make)
        except (CheckError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            passed = name not in _NEEDED
            if passed:
                reason += " (not compared there)"
            checks.append(Check(f"runs on {name}", passed, reason))
            continue
        found, expected = [], []
        limit = _SLOW_COMPARED if runtime.is_slow else _COMPARED
        if runtime.holds_states:
            checks.append(_check_reset(name, make(content), plan, given[0]))
        for window, outputs in _windows(runtime, plan, states, given):
            found.append(outputs)
            expected.append(expected_of(window))
            if len(found) == limit:
                break
        checks.append(judge(name, found, expected))
    return checks


def hops(
    runtime, plan: Plan, states: Sequence[StreamingState], signal: Example
) -> Iterator[tuple[Outputs, Outputs]]:
    """What goes into a streaming file and comes out of it, hop by hop.

    Args:
        runtime: that runs the file.
        plan: of the stream.
        states: those that are inputs and outputs.
        signal: frames `(1, t, c)` by input.

    Yields:
        `(inputs, outputs)`, without the states, as the file holds them.
    """
    held = {state.name: state.initial() for state in states}
    length = len(next(iter(signal.values()))[0])
    for end in range(plan.hop, length + 1, plan.hop):
        frames = runtime.stored(
            {
                name: value[:, end - plan.hop : end]
                for name, value in signal.items()
            }
        )
        outputs = runtime.invoke(frames | held)
        held = {state.name: outputs.pop(state.output_name) for state in states}
        yield frames, outputs


def _windows(
    runtime, plan: Plan, states: Sequence[StreamingState], given: list[Example]
) -> Iterator[tuple[Example, Outputs]]:
    """Every full window, and what the stream gives at its end."""
    for signal in given:
        runtime.reset()
        steps = hops(runtime, plan, states, signal)
        for number, (_, outputs) in enumerate(steps, 1):
            end = number * plan.hop
            if end >= plan.window:
                window = {
                    name: value[:, end - plan.window : end]
                    for name, value in signal.items()
                }
                yield window, outputs


def _check_reset(name: str, runtime, plan: Plan, signal: Example) -> Check:
    """Whether the file begins anew as it did when it was loaded."""

    def first() -> list[Outputs]:
        steps = hops(runtime, plan, (), signal)
        return [
            {key: np.array(value) for key, value in outputs.items()}
            for _, outputs in itertools.islice(steps, plan.hops_until_full)
        ]

    loaded = first()
    runtime.reset()
    again = first()
    different = sum(
        not np.array_equal(ours[key], theirs[key])
        for ours, theirs in zip(again, loaded, strict=True)
        for key in theirs
    )
    return Check(
        f"{name}, a reset begins a new stream",
        bool(loaded) and not different,
        f"{different} outputs of the first {len(loaded)} hops differ"
        if different or not loaded
        else f"equal in every bit, on the first {len(loaded)} hops",
    )
