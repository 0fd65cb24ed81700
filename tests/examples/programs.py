"""The programs in examples/, loaded here or run in this process."""

import importlib
import pathlib
import sys
import wave

import numpy as np
from absl import flags
from absl.testing import flagsaver

# Programs, not part of a package: found from here, so that they are the same
# files whether pytest or Bazel's runfiles put them there.
FOLDER = pathlib.Path(__file__).parents[2] / "examples"


def load(name):
    """The module of that name in examples/, once for all tests."""
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)


def run(program, monkeypatch, capsys, *arguments):
    """Runs a program here; its exit status, and what it wrote."""
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    capsys.readouterr()
    flags.FLAGS.unparse_flags()
    status = 0
    with flagsaver.flagsaver():
        try:
            program.run()
        except SystemExit as exit:
            status = exit.code or 0
    return status, *capsys.readouterr()


def write(path, audio, rate=8000, width=2):
    """Writes audio of shape (samples,) or (samples, channels) in -1..1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = {1: "u1", 2: "<i2"}[width]
    offset = 128 if width == 1 else 0
    scale = 2 ** (8 * width - 1) - 1
    values = np.round(np.asarray(audio) * scale + offset).astype(dtype)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if values.ndim == 1 else values.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(values.tobytes())
    return path


def sine(frequency, rate, seconds):
    time = np.arange(round(rate * seconds)) / rate
    return 0.5 * np.sin(2 * np.pi * frequency * time)
