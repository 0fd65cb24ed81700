"""What a file is for: whether it runs there, in the target's own words."""

import dataclasses
from collections.abc import Callable

from tfconv_export import excerpt
from tfconv_export import flatbuffer
from tfconv_export import micro
from tfconv_export import micro_refusals
from tfconv_export import vela
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.flatbuffer import Facts
from tfconv_export.quantization import flatbuffer_edit
from tfconv_export.result import Check
from tfconv_export.result import TargetReport

_RUNS_ON_MICRO = "runs on TFLite Micro"

# How many of the operators left to the CPU one line names.
_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of device.

    Attributes:
        name: string, as `--target` names it.
        modes: tuple of strings, the `--quantize` modes that it runs.
        check_installed: raises a `UsageError` if its tools are absent.
        judge: what its own tools say, from the target's name, the file's
            bytes, its facts, and the layers of its name scopes.
        compiles: bool, whether it runs a file made of ours by its compiler.
    """

    name: str
    modes: tuple[str, ...]
    check_installed: Callable[[], None]
    judge: Callable[
        [str, bytes, Facts, dict[str, str]], tuple[TargetReport, list[Check]]
    ]
    compiles: bool = False


def check_request(target: str, quantize: str) -> None:
    """Refuses what cannot be done, before anything is converted.

    Args:
        target: string, a name in `TARGETS`.
        quantize: string, the mode.

    Raises:
        UsageError: if there is no such target, it does not run the mode, or
            what judges it is not installed.
    """
    if target not in TARGETS:
        raise UsageError(
            f"--target={target} is unknown; it must be one of "
            f"{', '.join(TARGETS)}."
        )
    modes = TARGETS[target].modes
    if quantize not in modes:
        raise UsageError(
            f"--target={target} does not run --quantize={quantize}; it must "
            f"be one of {', '.join(modes)}."
        )
    TARGETS[target].check_installed()


def judge(
    target: str,
    content: bytes,
    facts: Facts,
    require_npu: bool = False,
    scopes: dict[str, str] | None = None,
) -> tuple[TargetReport, list[Check]]:
    """Has a file judged by the target's own compiler or interpreter.

    Args:
        target: string, a name in `TARGETS`.
        content: bytes of the file.
        facts: what is in it.
        require_npu: bool, whether an operator that an NPU leaves to the CPU
            is a failure.
        scopes: `Conversion.scopes`, by which messages name layers.

    Returns:
        What they say, and the checks that come of it.

    Raises:
        UsageError: if they are not installed.
    """
    report, checks = TARGETS[target].judge(target, content, facts, scopes or {})
    if report.npu_operators is not None:
        checks.append(_check_npu(report, require_npu))
    return report, checks


def _judge_litert(target, content, facts, scopes):
    return TargetReport(target), []


def _judge_micro(target, content, facts, scopes):
    name = _RUNS_ON_MICRO
    try:
        arena = micro.TFLiteMicro(content, scopes).arena_bytes
    except CheckError as error:
        return TargetReport(target), [Check(name, False, str(error))]
    report = TargetReport(
        target, arena_bytes=arena, resolver=micro.resolver(facts)
    )
    detail = f"in an arena of {arena} bytes, measured on a 64-bit host"
    return report, [Check(name, True, detail)]


def _judge_ethos_u(target, content, facts, scopes):
    name = f"compiles for {target}"
    try:
        report = vela.compile_for(target, content)
    except CheckError as error:
        return TargetReport(target), [Check(name, False, str(error))]
    milliseconds = 1e3 * report.cycles / report.clock_hz
    detail = (
        f"Vela estimates {report.cycles} cycles, {milliseconds:.3g} ms at "
        f"{report.clock_hz / 1e6:g} MHz, {report.sram_bytes} bytes of SRAM "
        f"and {report.flash_bytes} of flash"
    )
    if report.cpu_operators:
        detail += ", all without what the CPU does"
    checks = [Check(name, True, detail)]
    try:
        _check_cpu(report, scopes)
    except CheckError as error:
        # There may be no method that registers what the CPU is to run.
        report = dataclasses.replace(report, resolver="")
        checks.append(Check(_RUNS_ON_MICRO, False, str(error)))
    return report, checks


def _check_cpu(report: TargetReport, scopes: dict[str, str]) -> None:
    """Raises a `CheckError` if TFLite Micro lacks what the NPU leaves to it."""
    if not report.cpu_operators:
        return
    problem = micro_refusals.lacking(flatbuffer.read(report.compiled), scopes)
    if problem:
        raise CheckError(problem)
    if not micro.is_installed():
        return
    model = flatbuffer_edit.read(report.compiled)
    content = excerpt.Excerpts(model).file(
        [
            operator
            for operator in model.subgraphs[0].operators
            if not model.operatorCodes[operator.opcodeIndex].customCode
        ]
    )
    micro.check_runs(content, flatbuffer.read(content), scopes)


def _check_npu(report: TargetReport, require_npu: bool) -> Check:
    name = "operators on the NPU"
    left = report.cpu_operators
    detail = f"{report.npu_operators} of {report.operators} as Vela counts"
    if not left:
        return Check(name, True, detail)
    # The converter joins the names of what it fuses with semicolons.
    detail += "; on the CPU: " + "; ".join(
        f"{operator.name} {operator.output.split(';')[0]} ({operator.reason})"
        for operator in left[:_NAMED]
    )
    if len(left) > _NAMED:
        detail += f"; and {len(left) - _NAMED} more"
    if not report.npu_operators:
        return Check(name, False, f"{detail}. Choose --target=micro.")
    if require_npu:
        return Check(name, False, f"{detail}. {_remedy(report)}")
    return Check(name, True, detail)


def _remedy(report: TargetReport) -> str:
    names = {operator.name for operator in report.cpu_operators}
    if names <= {"QUANTIZE", "DEQUANTIZE"}:
        return "Choose an integer --io_dtype."
    return "Replace those layers, or leave them to the CPU: --norequire_npu."


TARGETS = {
    target.name: target
    for target in (
        Target(
            "litert",
            ("none", "float16", "dynamic", "int8", "int16x8", "int4"),
            lambda: None,
            _judge_litert,
        ),
        # It has no kernels for float16, and none that mix float and int8.
        Target(
            "micro",
            ("none", "int8", "int16x8", "int4"),
            micro.check_installed,
            _judge_micro,
        ),
        *(
            Target(
                accelerator,
                ("int8", "int16x8"),
                vela.check_installed,
                _judge_ethos_u,
                compiles=True,
            )
            for accelerator in vela.ACCELERATORS
        ),
    )
}
