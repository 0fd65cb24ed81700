"""Folders for temporary files: gone when used, or when their user is dead."""

import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from tfconv_export import scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The directory in which they are made."""
    pytest.importorskip("fcntl")
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


# Makes one, with a file in it, and is killed.
KILLED = """
with scratch.folder() as path:
    open(os.path.join(path, "large"), "w").close()
    os.kill(os.getpid(), 9)
"""
# Makes one, and ends while a child of it waits for its input to end.
OUTLIVED = """
with scratch.folder():
    if not os.fork():
        sys.stdin.read()
    os._exit(0)
"""


def start(code: str, temporary) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os, sys\nfrom tfconv_export import scratch\n{code}",
        ],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TMPDIR": str(temporary),
        },
        stdin=subprocess.PIPE,
    )


def leave_one_behind(temporary) -> pathlib.Path:
    """Makes one in a process that is killed; gives its path."""
    with start(KILLED, temporary):
        pass
    (left,) = temporary.iterdir()
    return left


def test_folder_goes_with_all_that_is_in_it(temporary):
    with scratch.folder() as path:
        os.mkdir(os.path.join(path, "inner"))
    assert not list(temporary.iterdir())


def test_folder_of_a_dead_process_goes_with_the_next_one(temporary):
    left = leave_one_behind(temporary)
    with scratch.folder():
        assert not left.exists()


def test_folder_of_a_living_process_stays(temporary):
    with scratch.folder() as first:
        before = set(os.listdir(first))
        with scratch.folder():
            pass
        assert set(os.listdir(first)) == before


def test_folder_of_a_child_that_outlives_its_parent_stays(temporary):
    with start(OUTLIVED, temporary) as parent:
        os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT)
        (used,) = temporary.iterdir()
        with scratch.folder():
            assert used.exists()


def test_nothing_of_others_is_removed(temporary, tmp_path):
    # Names alike: a user's folder, a file, and links to what is elsewhere.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    left = leave_one_behind(temporary)
    left.rename(elsewhere / "dead")
    (temporary / "tfconv-link").symlink_to(elsewhere / "dead")
    (temporary / "tfconv-notes").mkdir()
    (temporary / "tfconv-notes" / "mine").write_text("mine")
    (temporary / "tfconv-file").write_text("mine")
    (temporary / "tfconv-lock").mkdir()
    (temporary / "tfconv-lock" / scratch._LOCK).symlink_to(
        elsewhere / "dead" / scratch._LOCK
    )
    before = sorted(temporary.rglob("*")), sorted(elsewhere.rglob("*"))
    with scratch.folder():
        pass
    after = sorted(temporary.rglob("*")), sorted(elsewhere.rglob("*"))
    assert after == before
