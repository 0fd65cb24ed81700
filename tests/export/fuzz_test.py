"""Whatever is in a file, it is read or refused: no crash, and no end of it."""

import os
import subprocess
import sys


def test_500_damaged_files_of_each_kind():
    # In a process of its own: it is forked, as TensorFlow's cannot be.
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.fuzz", "--mutations=500"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
