"""Arm's Vela: compiles a TFLite file for an Ethos-U NPU, and says how."""

import csv
import importlib.util
import pathlib
import re
import subprocess
import sys

from tfconv_export import flatbuffer
from tfconv_export import micro
from tfconv_export import scratch
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.flatbuffer import Facts
from tfconv_export.result import CpuOperator
from tfconv_export.result import TargetReport

ACCELERATORS = (
    "ethos-u55-32",
    "ethos-u55-64",
    "ethos-u55-128",
    "ethos-u55-256",
    "ethos-u65-256",
    "ethos-u65-512",
    "ethos-u85-128",
    "ethos-u85-256",
    "ethos-u85-512",
    "ethos-u85-1024",
    "ethos-u85-2048",
)

# Microcontrollers: tensors in SRAM that the CPU shares, constants in flash,
# 500 MHz. Vela itself assumes DRAM for the U65 and the U85.
MEMORY_MODE = "Shared_Sram"
SYSTEM_CONFIGS = {
    "ethos-u55": "Ethos_U55_High_End_Embedded",
    "ethos-u65": "Ethos_U65_Embedded",
    "ethos-u85": "Ethos_U85_SYS_Flash_High",
}

NPU_OPERATOR = "ethos-u"

_WARNING = re.compile(
    r"^Warning \([\w ]+\) operator: \w+, ofm: '(?P<output>.*)'\n"
    r"Reason: (?P<reason>(?:.+\n)+)",
    re.MULTILINE,
)
_BYTES_PER_KIB = 1024


def compile_for(accelerator: str, content: bytes) -> TargetReport:
    """Compiles a file for an NPU.

    Cycles and memory are Vela's estimates of what the NPU does, without what
    it leaves to the CPU, in the configuration `SYSTEM_CONFIGS` of the
    accelerator and in `MEMORY_MODE`.

    Args:
        accelerator: string, one of `ACCELERATORS`.
        content: bytes of a TFLite file.

    Raises:
        CheckError: if Vela cannot compile the file.
        UsageError: if Vela is not installed.
    """
    check_installed()
    with scratch.folder() as directory:
        folder = pathlib.Path(directory)
        (folder / "model.tflite").write_bytes(content)
        done = _run(accelerator, folder)
        try:
            compiled = (folder / "model_vela.tflite").read_bytes()
            (table,) = folder.glob("model_summary_*.csv")
            (summary,) = csv.DictReader(table.read_text().splitlines())
        except (OSError, ValueError) as error:
            raise CheckError(
                f"Vela does not compile the file for {accelerator}: "
                f"{_reason(done.stdout + done.stderr)}"
            ) from error
    facts = flatbuffer.read(compiled)
    on_cpu = _cpu_operators(facts, done.stdout + done.stderr)
    on_npu = int(re.search(r"NPU operators = (\d+)", done.stdout)[1])
    return TargetReport(
        target=accelerator,
        resolver=micro.resolver(facts),
        npu_operators=on_npu,
        operators=on_npu + len(on_cpu),
        cycles=int(float(summary["cycles_total"])),
        clock_hz=float(summary["core_clock"]),
        sram_bytes=_bytes(summary, "sram"),
        flash_bytes=_bytes(summary, "off_chip_flash"),
        cpu_operators=on_cpu,
        compiled=compiled,
    )


def check_installed() -> None:
    """Raises a `UsageError` if Vela is not installed."""
    if importlib.util.find_spec("ethosu") is None:
        raise UsageError(
            "--target=ethos-u... needs the package ethos-u-vela: "
            "pip install 'tfconv[ethos-u]'."
        )


def _run(accelerator: str, folder: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable,
            *("-m", "ethosu.vela", "model.tflite", "--output-dir=."),
            f"--accelerator-config={accelerator}",
            "--config=Arm/vela.ini",
            f"--system-config={SYSTEM_CONFIGS[accelerator[:9]]}",
            f"--memory-mode={MEMORY_MODE}",
        ],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )


def _cpu_operators(facts: Facts, said: str) -> tuple[CpuOperator, ...]:
    """What the compiled file does not leave to the NPU.

    Args:
        facts: of the compiled file.
        said: what Vela printed.
    """
    reasons = {
        match["output"]: ". ".join(
            line.strip().rstrip(".") for line in match["reason"].splitlines()
        )
        for match in _WARNING.finditer(said)
    }
    found = []
    for operator in facts.operators:
        if operator.name != NPU_OPERATOR:
            # Those of a state's variable may have none.
            output = operator.outputs[0].name if operator.outputs else ""
            reason = reasons.get(output, "Vela gives none")
            found.append(CpuOperator(operator.name, output, reason))
    return tuple(found)


def _bytes(summary: dict[str, str], memory: str) -> int:
    return round(float(summary[f"{memory}_memory_used"]) * _BYTES_PER_KIB)


def _reason(said: str) -> str:
    """Vela's first words that are no warning and no traceback."""
    lines = re.findall(
        r"^(?!Warning|Traceback|Reason|\s)(?:\w+Error: |Error: )?(.+)",
        said,
        re.MULTILINE,
    )
    return lines[0][:300].rstrip(".") + "." if lines else "it does not say why."
