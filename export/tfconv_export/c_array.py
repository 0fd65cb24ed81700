"""A TFLite file as C++ source, for devices without a file system."""

import pathlib
import re
import textwrap

from tfconv_export.errors import UsageError
from tfconv_export.result import RESET_BEFORE_EACH_WINDOW

SUFFIXES = (".cc", ".cpp", ".cxx")
_BYTES_PER_LINE = 12


def targets(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The source file and the header beside it.

    Raises:
        UsageError: if `path` is not named like C++ source.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(
            f"--c_array={path} must end with one of {', '.join(SUFFIXES)}; the "
            "header is written beside it."
        )
    return path, path.with_suffix(".h")


def write(
    content: bytes, path: pathlib.Path, *, keeps_state: bool = False
) -> dict[pathlib.Path, bytes]:
    """The text of the source file and of the header.

    The array is `g_NAME` and its size `g_NAME_size`, where NAME is the file's
    name without suffix. TFLite reads the bytes in place, as numbers of up to 16
    bytes: so the array is aligned to 16.

    Args:
        content: bytes of the TFLite file.
        path: of the source file.
        keeps_state: bool, whether the file has to be reset before every
            window, which the header then says.

    Returns:
        From each path to its content.

    Example:

    >>> files = c_array.write(content, pathlib.Path("keyword.cc"))
    >>> print(files[pathlib.Path("keyword.h")].decode())
    // A TFLite model, as C++ source. Written by tfconv-export.
    #ifndef KEYWORD_H_
    #define KEYWORD_H_
    ...
    """
    source, header = targets(path)
    name = _identifier(source.stem)
    guard = f"{name.upper()}_H_"
    comment = "// A TFLite model, as C++ source. Written by tfconv-export.\n"
    state = state_comment() if keeps_state else ""
    lines = "".join(
        "    "
        + " ".join(
            f"0x{byte:02x}," for byte in content[at : at + _BYTES_PER_LINE]
        )
        + "\n"
        for at in range(0, len(content), _BYTES_PER_LINE)
    )
    return {
        source: (
            f'{comment}#include "{header.name}"\n\n'
            f"alignas(16) const unsigned char g_{name}[] = {{\n{lines}}};\n"
            f"const unsigned int g_{name}_size = {len(content)};\n"
        ).encode(errors="surrogateescape"),  # The header's path may be no text.
        header: (
            f"{comment}{state}#ifndef {guard}\n#define {guard}\n\n"
            f"extern const unsigned char g_{name}[];\n"
            f"extern const unsigned int g_{name}_size;  // bytes\n\n"
            f"#endif  // {guard}\n"
        ).encode(),
    }


def state_comment() -> str:
    """Lines of C++ that say that the device has to reset the file's state."""
    sentence = (
        RESET_BEFORE_EACH_WINDOW[0].upper() + RESET_BEFORE_EACH_WINDOW[1:]
    )
    return "".join(f"// {line}\n" for line in textwrap.wrap(f"{sentence}.", 77))


def _identifier(name: str) -> str:
    """`name`, with whatever C++ does not allow in a name as underscores."""
    name = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_").lower()
    return (
        name if name and not name[0].isdigit() else f"model_{name}".strip("_")
    )
