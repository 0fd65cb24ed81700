"""What `import tfconv` brings along, and what it leaves where it is."""

import os
import subprocess
import sys

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
