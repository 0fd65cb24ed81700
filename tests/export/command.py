"""The command `tfconv-export`, run in this process or in one of its own."""

import dataclasses
import hashlib
import os
import pathlib
import subprocess
import sys

from absl.testing import flagsaver

from tfconv_export import cli


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: int, the exit status.
        stdout: string.
        stderr: string.
    """

    status: int
    stdout: str
    stderr: str


def run(monkeypatch, capfd, *arguments: str) -> Outcome:
    """Runs the command as `main` does, in this process."""
    monkeypatch.setattr(sys, "argv", ["tfconv-export", *map(str, arguments)])
    capfd.readouterr()
    saved = flagsaver.save_flag_values(cli.FLAGS)
    try:
        with flagsaver.flagsaver():
            cli.run()
            status = 0
    except SystemExit as error:
        status = error.code or 0
    finally:
        flagsaver.restore_flag_values(saved, cli.FLAGS)
    captured = capfd.readouterr()
    return Outcome(status, captured.out, captured.err)


def run_process(*arguments: str, cwd: os.PathLike, **environment) -> Outcome:
    """Runs the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tfconv_export.cli", *map(str, arguments)],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def snapshot(directory: pathlib.Path) -> dict[str, str]:
    """Everything below a directory, and what it holds."""
    return {
        str(path.relative_to(directory)): (
            hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "not a file"
        )
        for path in sorted(directory.rglob("*"))
    }
