"""Runs a benchmark program as its user does."""

import importlib.util
import json
import os
import subprocess
import sys


def run(*arguments: str, folder, path: str = "") -> subprocess.CompletedProcess:
    """`python ARGUMENTS` in a folder, with the modules of this process.

    Args:
        *arguments: to Python.
        folder: the working directory.
        path: a folder whose modules come first.
    """
    folders = [str(path), *sys.path] if path else sys.path
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
    )


def run_benchmark(name: str, folder, *arguments: str) -> tuple[str, dict]:
    """What the program prints, and what it writes as JSON.

    It draws, too, where matplotlib is installed.
    """
    draws = importlib.util.find_spec("matplotlib") is not None
    process = run(
        "-m",
        f"benchmarks.{name}",
        "--json=numbers.json",
        "--rounds=1",
        *(["--plot=picture.png"] if draws else []),
        *arguments,
        folder=folder,
    )
    assert process.returncode == 0, process.stderr
    assert (folder / "picture.png").exists() == draws
    return process.stdout, json.loads((folder / "numbers.json").read_text())


def has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None


def assert_times(seconds: dict, variants: set[str]) -> None:
    """Holds the times of one cell, whatever they are, to be in order."""
    assert set(seconds) == variants
    for times in seconds.values():
        assert times["rounds"] == 1
        assert 0 < times["minimum"] == times["median"]
        assert times["first"] > 0
