"""Where the command writes: files whole or not at all, and no other's."""

import contextlib
import errno
import os
import pathlib
import resource
import signal
import stat
import sys
import threading

import pytest

import tfconv_export
from tests.export import command
from tfconv_export import conversion
from tfconv_export import files
from tfconv_export import process

MODEL = "--model=model.keras"
DATA = "--representative_data=data.npy"
LONG = "a" * 300


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("existing.tflite", "--overwrite"),
        ("./existing.tflite", "--overwrite"),
        ("missing/out.tflite", "no directory missing"),
        ("existing.tflite/out.tflite", "no directory existing.tflite"),
        ("tmp", "is a directory"),
        ("", "is a directory"),
        ("saved_model/", "is a directory"),
        (f"{LONG}.tflite", "too long"),
    ],
)
@pytest.mark.parametrize("flag", ["output", "report"])
def test_target_that_cannot_be_written(refused, flag, output, reason):
    arguments = [MODEL, f"--{flag}={output}"]
    if flag == "report":
        arguments.append("--output=out.tflite")
    sentence = refused(*arguments)
    assert f"--{flag}" in sentence
    assert reason in sentence


@pytest.mark.skipif(not os.path.isdir("/sys"), reason="needs Linux")
def test_directory_in_which_no_file_can_be_made(refused):
    # Not even by root, who may write into directories without permission.
    assert "cannot be written" in refused(MODEL, "--output=/sys/out.tflite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_directory_without_permission(refused, workplace):
    (workplace / "closed").mkdir(mode=0o500)
    sentence = refused(MODEL, "--output=closed/out.tflite")
    assert "Permission denied" in sentence


@pytest.mark.parametrize(
    "report",
    ["out.tflite", "./out.tflite", "tmp/../out.tflite", "link/out.tflite"],
)
def test_report_that_is_the_output(refused, workplace, report):
    (workplace / "link").symlink_to(workplace)
    sentence = refused(MODEL, "--output=out.tflite", f"--report={report}")
    assert "--report" in sentence
    assert "--output" in sentence


@pytest.mark.parametrize("flag", ["output", "report"])
@pytest.mark.parametrize(
    "file",
    [
        "model.keras",
        "./model.keras",
        "link/model.keras",
        "data.npy",
        "saved_model/saved_model.pb",
    ],
)
def test_no_input_is_overwritten(refused, workplace, flag, file):
    (workplace / "link").symlink_to(workplace)
    model = "saved_model" if "saved_model" in file else "model.keras"
    arguments = [f"--model={model}", DATA, "--overwrite", f"--{flag}={file}"]
    if flag == "report":
        arguments.append("--output=out.tflite")
    assert f"--{flag}" in refused(*arguments)


@pytest.mark.parametrize("flag", ["output", "report"])
def test_what_is_not_a_file_is_not_replaced_by_one(refused, workplace, flag):
    # /dev/null is another, which root would lose.
    os.mkfifo(workplace / "pipe")
    arguments = [MODEL, "--overwrite", f"--{flag}=pipe"]
    if flag == "report":
        arguments.append("--output=out.tflite")
    assert "pipe" in refused(*arguments)
    assert stat.S_ISFIFO((workplace / "pipe").stat().st_mode)


def test_overwrite_replaces_the_file_and_adds_no_other(run, workplace):
    before = command.snapshot(workplace)
    outcome = run(MODEL, "--output=existing.tflite", "--overwrite")
    assert outcome.status == 0
    after = command.snapshot(workplace)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"existing.tflite"}


def test_success_leaves_the_output_and_nothing_else(run, workplace):
    before = command.snapshot(workplace)
    arguments = MODEL, "--output=out.tflite", "--report=report.json"
    assert run(*arguments).status == 0
    after = command.snapshot(workplace)
    assert after.keys() - before.keys() == {"out.tflite", "report.json"}
    assert before.items() <= after.items()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_of_the_file_follow_the_umask(run, workplace, umask):
    before = os.umask(umask)
    try:
        run(MODEL, "--output=out.tflite")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    mode = (workplace / "out.tflite").stat().st_mode
    assert stat.S_IMODE(mode) == 0o666 & ~umask


@pytest.fixture
def targets(tmp_path):
    """Two files to be replaced, and the function that replaces them."""
    paths = [tmp_path / "out.tflite", tmp_path / "report.json"]
    for path in paths:
        path.write_bytes(b"before")

    def write(first=b"after", second=b"after"):
        files.write_all(dict(zip(paths, [first, second], strict=True)))

    return tmp_path, write


def assert_unchanged(directory: pathlib.Path) -> None:
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        "out.tflite": b"before",
        "report.json": b"before",
    }


@pytest.mark.parametrize("full", ["first", "second"])
def test_disk_that_runs_full_changes_no_target(targets, full):
    directory, write = targets
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(tfconv_export.UsageError, match="too large"):
            write(**{full: bytes(20_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_unchanged(directory)


@pytest.mark.parametrize("function", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("call", [1, 2])
def test_system_call_that_fails_changes_no_target(
    targets, monkeypatch, function, call
):
    directory, write = targets
    real, calls = getattr(os, function), []

    def failing(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, function, failing)
    with pytest.raises(tfconv_export.UsageError, match="No space left"):
        write()
    assert len(calls) >= call
    assert_unchanged(directory)


def test_failed_rename_leaves_no_new_file(tmp_path, monkeypatch):
    real, calls = os.replace, []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(tfconv_export.UsageError, match="No space left"):
        files.write_all(
            {tmp_path / "out.tflite": b"a", tmp_path / "report.json": b"b"}
        )
    assert not list(tmp_path.iterdir())


def test_overwrite_works_where_files_have_no_second_name(targets, monkeypatch):
    # FAT, exFAT and some network shares have no hard links.
    directory, write = targets

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        "out.tflite": b"after",
        "report.json": b"after",
    }


def test_interrupted_write_changes_no_target(targets, monkeypatch):
    directory, write = targets

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write()
    assert_unchanged(directory)


@pytest.mark.parametrize("function", ["replace", "link"])
def test_interrupt_while_files_are_renamed_comes_after_it(
    targets, monkeypatch, function
):
    directory, write = targets
    real = getattr(os, function)

    def interrupted(*arguments, **keywords):
        signal.raise_signal(signal.SIGINT)
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, function, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        "out.tflite": b"after",
        "report.json": b"after",
    }
    assert "is written" in process.outcome()


def test_file_that_came_meanwhile_is_overwritten_only_if_it_may_be(tmp_path):
    first, second = tmp_path / "report.json", tmp_path / "out.tflite"
    second.write_bytes(b"another's")
    with pytest.raises(tfconv_export.UsageError, match="meanwhile"):
        files.write_all({first: b"ours", second: b"ours"}, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out.tflite"]
    assert second.read_bytes() == b"another's"


def test_sets_of_files_are_renamed_one_after_the_other(targets):
    fcntl = pytest.importorskip("fcntl")
    directory, write = targets
    # As another export has it, while it renames its own.
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    try:
        writing.join(0.2)
        assert writing.is_alive()
        for name in ("out.tflite", "report.json"):
            assert (directory / name).read_bytes() == b"before"
    finally:
        os.close(descriptor)
    writing.join(10)
    for name in ("out.tflite", "report.json"):
        assert (directory / name).read_bytes() == b"after"


def test_interrupt_that_was_lost_is_known_before_anything_is_written(
    targets, monkeypatch
):
    # Python drops exceptions that are raised in callbacks of C++.
    monkeypatch.setattr(process, "_interrupts", [])
    before = {each: signal.getsignal(each) for each in process._ENDING}
    try:
        process._raise_interrupts()
        process.end_if_interrupted()
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    directory, write = targets
    with pytest.raises(KeyboardInterrupt):
        write()
    assert_unchanged(directory)


def test_interrupted_export_leaves_nothing(run, workplace, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "convert", interrupted)
    before = command.snapshot(workplace)
    outcome = run(MODEL, "--output=existing.tflite", "--overwrite")
    assert outcome.status not in (0, 1, 2)
    assert outcome.stderr.count("\n") == 1
    assert command.snapshot(workplace) == before


def test_files_are_whole_at_every_moment(targets, monkeypatch):
    # Whoever reads one while it is replaced finds the old or the new.
    directory, write = targets
    seen = set()

    def look(*_):
        for name in ("out.tflite", "report.json"):
            seen.add((directory / name).read_bytes())

    sys.setprofile(look)
    try:
        write(b"after" * 1000, b"after" * 1000)
    finally:
        sys.setprofile(None)
    look()
    assert seen == {b"before", b"after" * 1000}


def test_link_stays_and_what_it_points_to_is_written(run, workplace):
    (workplace / "releases").mkdir()
    link = workplace / "latest.tflite"
    link.symlink_to("releases/1.tflite")
    outcome = run(MODEL, "--output=latest.tflite")
    assert outcome.status == 0
    assert link.is_symlink()
    assert (workplace / "releases" / "1.tflite").read_bytes()[4:8] == b"TFL3"
