"""What `import tfconv` brings along, and what it leaves where it is."""

import importlib
import os
import subprocess
import sys

import keras
import pytest

from tfconv import backend

# The other half, its runtime, and what its user alone would need.
FOREIGN = [
    "ai_edge_litert",
    "matplotlib",
    "pandas",
    "tensorflow_model_optimization",
    "tf_keras",
    "tfconv_export",
]

IMPORT = f"""
import sys
import tensorflow
import keras
before = set(sys.modules)
import tfconv
brought = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(*sorted(brought & set({FOREIGN})))
print(*tfconv.__all__)
"""


def test_the_library_is_imported_without_the_tool_and_what_it_needs():
    lines = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert lines[0] == ""
    assert set(lines[1].split()) >= {
        "DepthwiseConv1D",
        "SeparableConv1D",
        "depthwise_conv1d",
        "from_keras",
        "jit",
    }


def test_another_backend_of_keras_is_refused_whether_installed_or_not():
    # The layers would be built, and fail in training.
    done = subprocess.run(
        [sys.executable, "-c", "import tfconv"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "KERAS_BACKEND": "jax",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: tfconv runs on TensorFlow")
    assert "KERAS_BACKEND=tensorflow" in last


def test_a_backend_that_keras_runs_on_already_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ImportError, match="is to use torch"):
        importlib.reload(backend)
