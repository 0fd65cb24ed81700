"""Which files an export writes, and what is in them."""

import dataclasses
import os
import pathlib

from tfconv_export import c_array as c_arrays
from tfconv_export import files
from tfconv_export.errors import UsageError

_COMPILED = "output (for the NPU)"


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What is to be written where; `None` where nothing is.

    Attributes:
        output: path of the TFLite file.
        compiled: path of the file for an NPU.
        report: path of the JSON report.
        c_array: path of the C++ source file.
        report_dir: path of the report's directory.
        golden_dir: path of the golden vectors' directory.
    """

    output: pathlib.Path
    compiled: pathlib.Path | None = None
    report: pathlib.Path | None = None
    c_array: pathlib.Path | None = None
    report_dir: pathlib.Path | None = None
    golden_dir: pathlib.Path | None = None


def plan(
    inputs: dict[str, "os.PathLike | str"],
    overwrite: bool,
    output: "os.PathLike | str",
    *,
    compiles: bool = False,
    report: "os.PathLike | str | None" = None,
    c_array: "os.PathLike | str | None" = None,
    report_dir: "os.PathLike | str | None" = None,
    golden_dir: "os.PathLike | str | None" = None,
) -> Outputs:
    """Makes sure, before any work is done, that all can be written.

    Args:
        inputs: what is read, by the names of the arguments.
        overwrite: whether what is to be written may exist.
        output: path of the TFLite file.
        compiles: whether a file for an NPU goes beside it, as `NAME_vela`.
        report: path of the JSON report, or `None`.
        c_array: path of the C++ source file, or `None`.
        report_dir: path of the report's directory, or `None`.
        golden_dir: path of the golden vectors' directory, or `None`.

    Raises:
        UsageError: if not.
    """
    output = pathlib.Path(output)
    paths = {"output": output}
    if compiles:
        name = f"{output.stem}_vela{output.suffix}"
        paths[_COMPILED] = output.with_name(name)
    if report is not None:
        paths["report"] = pathlib.Path(report)
    if c_array is not None:
        c_array = pathlib.Path(c_array)
        source, header = c_arrays.targets(c_array)
        paths["c_array"], paths["c_array (its header)"] = source, header
    paths = {
        flag: files.check_target(path, overwrite, flag.partition(" ")[0])
        for flag, path in paths.items()
    }
    directories = {
        flag: files.check_directory(path, overwrite, flag)
        for flag, path in (
            ("report_dir", report_dir),
            ("golden_dir", golden_dir),
        )
        if path is not None
    }
    files.check_distinct(paths | directories, inputs)
    return Outputs(
        output=paths["output"],
        compiled=paths.get(_COMPILED),
        report=paths.get("report"),
        c_array=paths.get("c_array"),
        **directories,
    )


def inside(
    directory: pathlib.Path, contents: dict[str, bytes], flag: str
) -> dict[pathlib.Path, bytes]:
    """The same contents, by path.

    Raises:
        UsageError: if a directory is where a file is to be.
    """
    paths = {directory / name: content for name, content in contents.items()}
    for path in paths:
        if path.is_dir():
            raise UsageError(
                f"--{flag}={directory} has a directory {path.name} where a "
                "file is to be; give another directory."
            )
    return paths
