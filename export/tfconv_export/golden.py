"""Golden vectors: inputs, and what a device must compute of them to the bit."""

import io
import itertools
import re
from collections.abc import Sequence

import numpy as np

from tfconv.streaming import Plan
from tfconv_export import c_array
from tfconv_export import flatbuffer
from tfconv_export import streaming_proof
from tfconv_export.calibration import Example
from tfconv_export.calibration import Examples
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.micro import TFLiteMicro
from tfconv_export.runtimes import LiteRT
from tfconv_export.runtimes import wrong_in_reference
from tfconv_export.streaming_result import StreamingState

COUNT = 8

# The files that `contents` may make, as patterns.
MEMBERS = ("golden.cc", "golden.h", "input_*.npy", "output_*.npy")

_C_TYPES = {
    "float32": "float",
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "bool": "bool",
}


def vectors(
    content: bytes, target: str, examples: Examples, count: int = COUNT
) -> dict[str, np.ndarray]:
    """Runs a file with reference kernels.

    Those are what a device computes; XNNPACK and the optimized kernels round
    otherwise, by up to 3 steps of an int8 output.

    Args:
        content: bytes of the file.
        target: string, one of `targets.TARGETS`.
        examples: what to run it on; at most `count`, evenly spread.

    Returns:
        Arrays of shape `(n, *shape)`, in the dtypes of the file's inputs and
        outputs, by `input_NAME` and `output_NAME`.

    Raises:
        UsageError: if there are no reference kernels for the file.
    """
    runtime = _runtime(content, target)
    found: dict[str, list] = {}
    for example in itertools.islice(examples.sample(count), count):
        inputs = runtime.stored(example)
        outputs = runtime.invoke(inputs)
        for kind, values in (("input", inputs), ("output", outputs)):
            for name, value in values.items():
                found.setdefault(f"{kind}_{name}", []).append(value[0].copy())
    return {name: np.stack(values) for name, values in found.items()}


def stream_vectors(
    content: bytes,
    target: str,
    states: Sequence[StreamingState],
    plan: Plan,
    signal: Example,
) -> dict[str, np.ndarray]:
    """Runs a streaming file with reference kernels from a reset on.

    Args:
        content: bytes of the file.
        target: string, one of `targets.TARGETS`.
        states: those that are inputs and outputs.
        plan: of the stream.
        signal: frames `(1, t, c)` by input.

    Returns:
        As `vectors`, one hop after the other, with `COUNT` of full windows if
        the signal is long enough.

    Raises:
        UsageError: if there are no reference kernels for the file.
    """
    runtime = _runtime(content, target)
    found: dict[str, list] = {}
    hops = itertools.islice(
        streaming_proof.hops(runtime, plan, states, signal),
        plan.hops_until_full + COUNT - 1,
    )
    for inputs, outputs in hops:
        for kind, values in (("input", inputs), ("output", outputs)):
            for name, value in values.items():
                found.setdefault(f"{kind}_{name}", []).append(value[0].copy())
    return {name: np.stack(values) for name, values in found.items()}


def _runtime(content: bytes, target: str) -> LiteRT | TFLiteMicro:
    """TFLite Micro, where it is the target or where LiteRT's kernels fail."""
    if target == "micro":
        return TFLiteMicro(content)
    reason = wrong_in_reference(flatbuffer.read(content))
    if not reason:
        try:
            return LiteRT(content, "reference")
        except (RuntimeError, ValueError):
            reason = "LiteRT lacks a reference kernel for this file"
    remedy = "leave it out"
    try:
        return TFLiteMicro(content)
    except UsageError:
        remedy = (
            "install TFLite Micro, which stands in (pip install "
            "'tfconv[micro]'), or leave it out"
        )
    except CheckError:
        reason += ", and TFLite Micro does not run it"
    raise UsageError(f"--golden_dir cannot be written: {reason}; {remedy}.")


def contents(
    arrays: dict[str, np.ndarray],
    what: str = "the model",
    *,
    keeps_state: bool = False,
) -> dict[str, bytes]:
    """The vectors as files: one `.npy` each, and `golden.cc` and `golden.h`.

    Args:
        arrays: as from `vectors`.
        what: string, what it is that computes them.
        keeps_state: bool, whether the file has to be reset before every
            window, which the source then says.

    Returns:
        From a file's name to its content.

    Raises:
        UsageError: if C has no type for the values.
    """
    files = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        files[f"{name.replace('/', '_')}.npy"] = buffer.getvalue()
    comment = (
        f"// What {what} computes with reference kernels.\n"
        "// Written by tfconv-export.\n"
    )
    if keeps_state:
        comment += c_array.state_comment()
    declarations, definitions = [], []
    for name, array in arrays.items():
        c_type = _C_TYPES.get(array.dtype.name)
        if c_type is None:
            raise UsageError(
                f"--golden_dir cannot hold {name}, whose dtype is "
                f"{array.dtype}; leave it out for this model."
            )
        identifier = f"g_golden_{re.sub('[^0-9A-Za-z_]', '_', name)}"
        # Every example in a row, as the device's tensor has it.
        declaration = (
            f"const {c_type} {identifier}[{len(array)}][{array[0].size}]"
        )
        declarations.append(f"extern {declaration};\n")
        rows = ",\n".join(
            "    {" + ", ".join(map(_literal, row.ravel())) + "}"
            for row in array
        )
        definitions.append(f"{declaration} = {{\n{rows}}};\n")
    count = len(next(iter(arrays.values())))
    files["golden.h"] = (
        f"{comment}#ifndef GOLDEN_H_\n#define GOLDEN_H_\n\n"
        f"#include <stdint.h>\n\n#define GOLDEN_COUNT {count}\n\n"
        f"{''.join(declarations)}\n#endif  // GOLDEN_H_\n"
    ).encode()
    files["golden.cc"] = (
        f'{comment}#include "golden.h"\n\n{"".join(definitions)}'
    ).encode()
    return files


def _literal(value) -> str:
    if isinstance(value, np.floating):
        # As many digits as it takes to come back to the same bits.
        return f"{value!s}f" if "." in str(value) else f"{float(value)!r}f"
    return str(int(value))
