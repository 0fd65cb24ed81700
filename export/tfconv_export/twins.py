"""Does TFLite Micro compute what LiteRT's reference kernels do?

It has copies of them, and its own planning of memory. What golden vectors
hold, and what was measured on LiteRT, is true on the device only if the two
compute the same.
"""

import dataclasses
from collections.abc import Collection
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import interpreter as litert

from tfconv_export import excerpt
from tfconv_export import flatbuffer
from tfconv_export.calibration import Example
from tfconv_export.conversion import Conversion
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.quantization.layer_names import layer_of
from tfconv_export.result import Check
from tfconv_export.runtimes import Runtime

NAMES = ("LiteRT reference", "TFLite Micro")

# Both round as the same C++ says, or nearly so: by a step of the output in
# integers, or, if this is more, by this part of its range: the steps of int16
# are so fine that those of several layers, or of a sum, add up.
MAX_ERROR = {"int8": 1 / 255, "int4": 1 / 255, "int16x8": 1 / 4096}
MAX_FLOAT_ERROR = 1e-5

_MAX_ERROR_OF_DTYPE = {"int8": 1 / 255, "uint8": 1 / 255, "int16": 1 / 4096}

# An LSTM takes what it computed of one time step to the next, differences and
# all: up to 3 steps were measured, and a wrong kernel is off by dozens.
_MAX_STEPS = {"UNIDIRECTIONAL_SEQUENCE_LSTM": 8}

# Far more than an operator needs; pages that nothing touches cost none.
_LARGE_ARENA = 1 << 28

Outputs = dict[str, np.ndarray]


def judge(
    computed: dict[str, list[Outputs]],
    runtimes: Sequence[Runtime],
    examples: Collection[Example],
    converted: Conversion,
    quantize: str,
) -> list[Check]:
    """Compares what the two computed.

    A step of difference in each of many layers is more than one in the end. So
    where the outputs differ by more, every operator is run by itself, on what
    TFLite Micro gave to it: none may differ by more than a step (an LSTM by
    more than 8), and one after the other they must give what TFLite Micro
    computes of the whole file.

    Args:
        computed: what each runtime computed of `examples`, by its name.
        runtimes: the file, on each interpreter.
        examples: those that both ran.
        converted: the file.
        quantize: string, the mode of the file; see `conversion.Recipe`.

    Returns:
        A check for each output; none if one of the two did not run.
    """
    by_name = {runtime.name: runtime for runtime in runtimes}
    if not computed.keys() >= set(NAMES):
        return []
    reference, micro = (by_name[name] for name in NAMES)
    part = MAX_ERROR.get(quantize, MAX_FLOAT_ERROR)
    by_operator = None
    checks = []
    for output in computed[reference.name][0]:
        pair = (
            np.stack([found[output] for found in computed[runtime.name]])
            for runtime in (reference, micro)
        )
        difference = _compare(*pair, reference.step(output), part)
        detail = f"differs by at most {difference}"
        passed = difference.passed
        if not passed:
            if by_operator is None:
                by_operator = _by_operator(
                    micro, examples, computed[micro.name], converted
                )
            passed = by_operator.passed
            detail += f"; {by_operator.detail}"
        name = f"{micro.name} as {reference.name}, output {output}"
        checks.append(Check(name, passed, detail))
    return checks


@dataclasses.dataclass(frozen=True)
class _Difference:
    """How far two tensors are apart.

    Attributes:
        number: float, steps of the quantization, or parts of the range.
        limit: float, how many are allowed.
        unit: string, what they are.
    """

    number: float
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        # NaN is not less than anything, and so does not pass.
        return bool(self.number <= 1.001 * self.limit)

    def __str__(self) -> str:
        return f"{self.number:.3g} {self.unit}"


def _compare(
    expected: np.ndarray,
    found: np.ndarray,
    step: float | None,
    part: float,
    steps: int = 1,
) -> _Difference:
    expected, found = expected.astype(float), found.astype(float)
    with np.errstate(invalid="ignore"):
        difference = np.abs(expected - found).max(initial=0.0)
    width = float(np.ptp(expected)) if expected.size else 0.0
    unit = step or width or 1.0
    limit = max(steps * (step or 0.0), part * (width or 1.0)) / unit
    return _Difference(
        difference / unit, limit, "LSB" if step else "of the range"
    )


def _by_operator(
    micro: Runtime,
    examples: Collection[Example],
    computed: list[Outputs],
    converted: Conversion,
) -> Check:
    """Runs the operators one after the other on TFLite Micro and beside it."""
    name = "operator by operator"
    try:
        return _judge_operators(name, micro, examples, computed, converted)
    except (RuntimeError, ValueError) as error:
        said = (str(error).strip().splitlines() or ["it does not say why"])[0]
        return Check(
            name,
            False,
            f"its operators do not run one by one ({said}): please report this",
        )


def _judge_operators(name, micro, examples, computed, converted) -> Check:
    facts = flatbuffer.read(converted.content)
    model = flatbuffer_edit.read(converted.content)
    main = model.subgraphs[0]
    excerpts = excerpt.Excerpts(model)
    values = _inputs(micro, examples, facts, main)
    last_use = {
        index: number
        for number, operator in enumerate(main.operators)
        for index in excerpts.taken([operator])
    }
    worst = None
    for number, operator in enumerate(main.operators):
        piece = excerpts.file([operator])
        given = [values[index] for index in excerpts.taken([operator])]
        expected, found = [], []
        pair = _Reference(piece), _Micro(piece, len(operator.outputs))
        for example in range(len(examples)):
            taken = [of_all[example] for of_all in given]
            for runtime, made in zip(pair, (expected, found), strict=True):
                made.append(runtime.run(taken))
        fact = facts.operators[number]
        for place, index in enumerate(operator.outputs):
            ours, theirs = (
                np.stack([made[place] for made in of_all])
                for of_all in (found, expected)
            )
            difference = _compare(
                theirs,
                ours,
                1.0 if fact.outputs[place].scales else None,
                _MAX_ERROR_OF_DTYPE.get(ours.dtype.name, MAX_FLOAT_ERROR),
                _MAX_STEPS.get(fact.name, 1),
            )
            if not difference.passed:
                layer = layer_of(fact, facts, converted.scopes)
                return Check(
                    name,
                    False,
                    f"{fact.name} of {layer} differs by {difference} where "
                    f"both get the same, at most {difference.limit:.3g} is "
                    "allowed: replace the layer, choose --target=litert, and "
                    "please report this",
                )
            if worst is None or difference.number > worst.number:
                worst = difference
            values[index] = ours
        for index in [i for i in values if last_use.get(i) == number]:
            if index not in main.outputs:
                del values[index]
    places = {
        id(t): i for t, i in zip(facts.outputs, main.outputs, strict=True)
    }
    for output, tensor in facts.signatures[0].outputs.items():
        alone = micro.real({output: values[places[id(tensor)]]})[output]
        whole = np.stack([found[output] for found in computed])
        if not np.array_equal(alone, whole):
            return Check(
                name,
                False,
                "TFLite Micro computes something else of the whole file than "
                "of its operators one by one: please report this",
            )
    return Check(
        name,
        True,
        f"each of its {len(main.operators)} operators by at most {worst}",
    )


def _inputs(micro, examples, facts, main) -> dict[int, np.ndarray]:
    """Collects what the inputs hold in all examples, by tensor number."""
    stored = [micro.stored(example) for example in examples]
    names = {id(t): name for name, t in facts.signatures[0].inputs.items()}
    return {
        index: np.stack([example[names[id(tensor)]] for example in stored])
        for tensor, index in zip(facts.inputs, main.inputs, strict=True)
    }


class _Reference:
    """A piece of a file on LiteRT's reference kernels."""

    def __init__(self, content: bytes):
        self._interpreter = litert.Interpreter(
            model_content=content,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        )
        self._interpreter.allocate_tensors()

    def run(self, values: list[np.ndarray]) -> list[np.ndarray]:
        interpreter = self._interpreter
        interpreter.reset_all_variables()
        details = interpreter.get_input_details()
        for detail, value in zip(details, values, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        return [
            interpreter.get_tensor(detail["index"])
            for detail in interpreter.get_output_details()
        ]


class _Micro:
    """A piece of a file on TFLite Micro."""

    def __init__(self, content: bytes, outputs: int):
        from tflite_micro.python.tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_bytes(
            content, arena_size=_LARGE_ARENA
        )
        self._outputs = outputs

    def run(self, values: list[np.ndarray]) -> list[np.ndarray]:
        self._interpreter.reset()
        for index, value in enumerate(values):
            self._interpreter.set_input(value, index)
        self._interpreter.invoke()
        return [
            self._interpreter.get_output(index)
            for index in range(self._outputs)
        ]
