"""Which files an export writes, and what is in them."""

import dataclasses
import fnmatch
import os
import pathlib
from collections.abc import Iterable

import numpy as np

from tfconv_export import c_array as c_arrays
from tfconv_export import files
from tfconv_export import golden
from tfconv_export.errors import UsageError
from tfconv_export.flatbuffer import Facts
from tfconv_export.report import as_json
from tfconv_export.report import directory
from tfconv_export.result import ExportResult
from tfconv_export.result import TargetReport
from tfconv_export.streaming_result import StreamingResult

_COMPILED = "output (for the NPU)"
_MEMBERS = {"report_dir": directory.MEMBERS, "golden_dir": golden.MEMBERS}


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What is to be written where; `None` where nothing is.

    Attributes:
        output: path of the TFLite file.
        compiled: path of the file for an NPU.
        also_whole: path of the file for whole windows, beside a streaming one.
        report: path of the JSON report.
        c_array: path of the C++ source file.
        report_dir: path of the report's directory.
        golden_dir: path of the golden vectors' directory.
        targets: all files that may be replaced, each after its flag.
    """

    output: pathlib.Path
    compiled: pathlib.Path | None = None
    also_whole: pathlib.Path | None = None
    report: pathlib.Path | None = None
    c_array: pathlib.Path | None = None
    report_dir: pathlib.Path | None = None
    golden_dir: pathlib.Path | None = None
    targets: tuple[files.Named, ...] = ()


def plan(
    inputs: Iterable[files.Named],
    overwrite: bool,
    output: "os.PathLike | str",
    *,
    compiles: bool = False,
    also_whole: "os.PathLike | str | None" = None,
    report: "os.PathLike | str | None" = None,
    c_array: "os.PathLike | str | None" = None,
    report_dir: "os.PathLike | str | None" = None,
    golden_dir: "os.PathLike | str | None" = None,
) -> Outputs:
    """Makes sure, before any work is done, that all can be written.

    Args:
        inputs: what is read, each after its name for messages.
        overwrite: whether what is to be written may exist.
        output: path of the TFLite file.
        compiles: whether a file for an NPU goes beside it, as `NAME_vela`.
        also_whole: path of the file for whole windows, or `None`.
        report: path of the JSON report, or `None`.
        c_array: path of the C++ source file, or `None`.
        report_dir: path of the report's directory, or `None`.
        golden_dir: path of the golden vectors' directory, or `None`.

    Raises:
        UsageError: if not; or if one file would be written over another, or
            over what is read.
    """
    output = pathlib.Path(output)
    paths = {"output": output}
    if compiles:
        name = f"{output.stem}_vela{output.suffix}"
        paths[_COMPILED] = output.with_name(name)
    if also_whole is not None:
        paths["also_whole"] = pathlib.Path(also_whole)
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
    targets = [*paths.items(), *directories.items()]
    names = {path.name for path in paths.values()}
    for flag, path in directories.items():
        targets += [(flag, item) for item in _members(path, flag, names)]
    targets = [(flag.partition(" ")[0], path) for flag, path in targets]
    files.check_distinct(targets)
    files.check_unread(targets, inputs)
    return Outputs(
        output=paths["output"],
        compiled=paths.get(_COMPILED),
        also_whole=paths.get("also_whole"),
        report=paths.get("report"),
        c_array=paths.get("c_array"),
        targets=tuple(targets),
        **directories,
    )


def _members(
    directory: pathlib.Path, flag: str, others: Iterable[str]
) -> list[pathlib.Path]:
    """The files that may be written into a directory.

    Some names are known only when the model is: of those, what is there
    already, and what has the name of another file to be written.

    Raises:
        UsageError: if one of them cannot be written.
    """
    names = {name for name in _MEMBERS[flag] if "*" not in name} | set(others)
    if directory.is_dir():
        names |= {path.name for path in directory.iterdir()}
    return [
        _member(directory, name, flag)
        for name in sorted(names)
        if any(fnmatch.fnmatchcase(name, each) for each in _MEMBERS[flag])
    ]


def _member(directory: pathlib.Path, name: str, flag: str) -> pathlib.Path:
    """Where a file of a directory is written: links are followed.

    Raises:
        UsageError: if there is something that is not a file.
    """
    path = directory / name
    if path.is_dir():
        raise UsageError(
            f"--{flag}={directory} has a directory {name} where a file is to "
            "be; give another directory."
        )
    if not os.path.lexists(path):
        return path
    return files.check_target(path, True, flag)


def reports(
    planned: Outputs,
    result: ExportResult,
    facts: Facts,
    stream: StreamingResult | None = None,
) -> dict[pathlib.Path, bytes]:
    """The reports that were asked for, by path.

    Args:
        planned: where they go.
        result: of the file for whole windows.
        facts: what is in it.
        stream: of the streaming file, or `None`.

    Raises:
        UsageError: if a directory is where one of them is to be.
    """
    found = {}
    if planned.report is not None:
        found[planned.report] = as_json.to_json(result, facts, stream).encode()
    if planned.report_dir is not None:
        found |= _inside(
            planned.report_dir,
            directory.contents(result, facts, stream),
            "report_dir",
        )
    return found


def contents(
    planned: Outputs,
    content: bytes,
    target: TargetReport,
    vectors: dict[str, np.ndarray] | None,
    what: str = "the model",
    *,
    keeps_state: bool = False,
) -> dict[pathlib.Path, bytes]:
    """The file and what is made of it, by path.

    Args:
        planned: where they go.
        content: bytes of the TFLite file.
        target: what the target's tools made of it.
        vectors: the golden vectors, or `None`.
        what: string, what computes them.
        keeps_state: bool, whether the file has to be reset before every
            window, which C++ then says.

    Raises:
        UsageError: if a directory is where one of the files is to be, or if C
            has no type for the golden vectors.
    """
    found = {planned.output: content}
    deployed = content
    if planned.compiled is not None:
        deployed = found[planned.compiled] = target.compiled
    if planned.c_array is not None:
        found |= c_arrays.write(
            deployed, planned.c_array, keeps_state=keeps_state
        )
    if vectors is not None:
        found |= _inside(
            planned.golden_dir,
            golden.contents(vectors, what, keeps_state=keeps_state),
            "golden_dir",
        )
    return found


def _inside(
    directory: pathlib.Path, contents: dict[str, bytes], flag: str
) -> dict[pathlib.Path, bytes]:
    """The same contents, by path.

    Raises:
        UsageError: if there is something that is not a file.
    """
    return {
        _member(directory, name, flag): content
        for name, content in contents.items()
    }
