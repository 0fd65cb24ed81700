"""The command as others see it from outside: ended, out of room, side by side.

What is guaranteed: the file to write is the old one or the new one, whole. But
for SIGKILL to the command itself, nothing else is left anywhere. After that,
TMPDIR has a folder tfconv-* until the next export, and beside the target lies
.NAME-*.tmp if it happened in the very moment of writing.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.export import command
from tests.export import models
from tests.export.closeness import assert_close
from tests.export.tflite import TFLiteFile
from tfconv_export import process
from tfconv_export import scratch

ARGUMENTS = ("--model=model.keras", "--output=existing.tflite", "--overwrite")

# Runs the command, which writes "reached", with its process id, and waits as
# soon as it comes to a function.
STOPPING = """
import importlib, os, sys, time
from tfconv_export import cli

module, name = sys.argv.pop(1).rsplit(".", 1)

def stop(*_, **__):
    with open("reached", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(300)

if module == "os":
    os.__dict__[name] = stop
else:
    real = importlib.__import__

    def importing(wanted, *arguments, **keywords):
        found = real(wanted, *arguments, **keywords)
        if module in sys.modules and hasattr(sys.modules[module], name):
            setattr(sys.modules[module], name, stop)
        return found

    __builtins__.__import__ = importing
cli.run()
"""


class Running:
    """The command in a process group of its own.

    Attributes:
        pid: int, of the process that was started; also of its group.
    """

    def __init__(self, workplace, *arguments, stopping_at=None):
        self._folder = workplace
        program = ["-m", "tfconv_export.cli"]
        if stopping_at is not None:
            program = ["-c", STOPPING, stopping_at]
        self._process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=workplace,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "TMPDIR": str(workplace / "tmp"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def child(self) -> int:
        """The process that does the work, once it is where it stops."""
        reached = self._folder / "reached"
        deadline = time.monotonic() + 60
        while not (reached.exists() and reached.read_text()):
            assert time.monotonic() < deadline
            assert self._process.poll() is None, self._process.communicate()
            time.sleep(0.02)
        child = int(reached.read_text())
        reached.unlink()
        return child

    def end(self) -> command.Outcome:
        """Waits until it has ended."""
        stdout, stderr = self._process.communicate(timeout=60)
        return command.Outcome(self._process.returncode, stdout, stderr)


@pytest.fixture
def start(workplace):
    """Starts the command in the workplace; ends what a test leaves running."""
    started = []

    def start_command(*arguments, stopping_at=None) -> Running:
        running = Running(workplace, *arguments, stopping_at=stopping_at)
        started.append(running)
        return running

    yield start_command
    for running in started:
        try:
            os.killpg(running.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        running.end()


# While the model is loaded, converted, compared and written.
MOMENTS = (
    "tfconv_export.loading.load",
    "tfconv_export.conversion.convert",
    "tfconv_export.proof.prove",
    "os.fsync",
)


@pytest.mark.parametrize(
    ("moment", "to"),
    [
        *((moment, "group") for moment in MOMENTS),
        ("tfconv_export.conversion.convert", "command"),
    ],
)
def test_terminated_command_leaves_nothing(start, workplace, moment, to):
    before = command.snapshot(workplace)
    running = start(*ARGUMENTS, stopping_at=moment)
    child = running.child()
    assert child != running.pid
    if to == "group":
        os.killpg(running.pid, signal.SIGTERM)
    else:
        os.kill(running.pid, signal.SIGTERM)
    outcome = running.end()
    assert outcome.status == 130
    assert outcome.stdout == ""
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert command.snapshot(workplace) == before
    assert has_ended(child)


@pytest.mark.parametrize("seconds", [0.3, 1.2, 2.0])
def test_command_terminated_at_any_time_leaves_the_old_or_the_new_file(
    start, workplace, seconds
):
    before = command.snapshot(workplace)
    running = start(*ARGUMENTS)
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGTERM)
    running.end()
    after = command.snapshot(workplace)
    assert after.keys() == before.keys()
    if after != before:
        assert_is_the_model(workplace / "existing.tflite")


@pytest.mark.parametrize("moment", MOMENTS[1::2])
def test_killed_converter_is_told_and_leaves_nothing(start, workplace, moment):
    # As the system does when memory runs out.
    before = command.snapshot(workplace)
    running = start(*ARGUMENTS, stopping_at=moment)
    os.kill(running.child(), signal.SIGKILL)
    outcome = running.end()
    assert outcome.status == 1
    assert re.fullmatch(r"tfconv-export: [^\n]+SIGKILL[^\n]+\n", outcome.stderr)
    after = command.snapshot(workplace)
    if moment == "os.fsync":
        after = without_temporary_file(after)
    assert after == before


@pytest.mark.parametrize("moment", MOMENTS[1::2])
def test_killed_command_leaves_the_old_file_whole(start, workplace, moment):
    before = command.snapshot(workplace)
    running = start(*ARGUMENTS, stopping_at=moment)
    running.child()
    os.killpg(running.pid, signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    after = {
        name: content
        for name, content in command.snapshot(workplace).items()
        if not name.startswith("tmp/tfconv-")
    }
    assert without_temporary_file(after) == before


def test_killed_command_takes_its_child_along(start, workplace):
    # It would go on, and write when nobody expects it any more.
    if sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent has died")
    before = command.snapshot(workplace)
    running = start(*ARGUMENTS, stopping_at="tfconv_export.loading.load")
    child = running.child()
    os.kill(running.pid, signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while not has_ended(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert any(workplace.glob("tmp/tfconv-*"))
    with scratch.folder():
        pass
    assert command.snapshot(workplace) == before


def test_export_that_takes_too_long_is_ended(start, workplace):
    before = command.snapshot(workplace)
    (workplace / "slow.py").write_text("import time\ntime.sleep(100)\n")
    arguments = "--custom_module=slow.py", "--timeout_s=2"
    outcome = start(*ARGUMENTS, *arguments).end()
    (workplace / "slow.py").unlink()
    assert outcome.status == 1
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert "2 seconds of --timeout_s" in outcome.stderr
    assert "nothing was written" in outcome.stderr
    assert command.snapshot(workplace) == before


def test_child_that_takes_no_notice_of_its_time_is_killed(monkeypatch):
    # As in a loop of TensorFlow's, where no Python runs.
    monkeypatch.setattr(process, "_GRACE", 0.2)
    before = {each: signal.getsignal(each) for each in process._ENDING}
    code = (
        "from signal import *\nsignal(SIGALRM, SIG_IGN)\n"
        "import time\nprint(flush=True)\ntime.sleep(100)"
    )
    try:
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE
        ) as child:
            child.stdout.readline()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
            status, was_expired = process._wait(child.pid, 0.2, mask)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert was_expired


# The child is interrupted as soon as it can be.
INTERRUPTED_AT_ONCE = """
import os, signal, sys
from tfconv_export import boundary, process

fork = os.fork

def interrupted_fork():
    child = fork()
    if not child:
        os.kill(os.getpid(), signal.SIGTERM)
    return child

os.fork = interrupted_fork
sys.exit(boundary.exit_status(lambda: process.in_a_child(lambda: 0)))
"""


def test_interrupt_before_the_program_begins_is_one(workplace):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_AT_ONCE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "tfconv-export: interrupted; nothing was written.\n"


def test_code_that_ends_the_process_is_no_success(start, workplace):
    (workplace / "leaves.py").write_text("import os\nos._exit(0)\n")
    before = command.snapshot(workplace)
    outcome = start(*ARGUMENTS, "--custom_module=leaves.py").end()
    assert outcome.status == 1
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert "nothing was written" in outcome.stderr
    assert command.snapshot(workplace) == before


def without_temporary_file(snapshot: dict) -> dict:
    return {
        name: content
        for name, content in snapshot.items()
        if not re.fullmatch(r"\.existing\.tflite-\w+\.tmp", name)
    }


def has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    # In a container, perhaps nobody asks how an orphan has ended.
    status = pathlib.Path(f"/proc/{process}/stat")
    return status.exists() and ") Z " in status.read_text()


def assert_is_the_model(path: pathlib.Path) -> None:
    expected = models.outputs_of(models.network(), models.DATA)
    assert_close(expected, TFLiteFile(path).run_one_output(models.DATA))


def test_two_at_once_write_two_files(start, workplace):
    before = command.snapshot(workplace)
    outputs = ["one.tflite", "two.tflite"]
    both = [
        start("--model=model.keras", f"--output={output}") for output in outputs
    ]
    for running in both:
        assert running.end().status == 0
    for output in outputs:
        assert_is_the_model(workplace / output)
    after = command.snapshot(workplace)
    assert after.keys() - before.keys() == set(outputs)


def test_of_two_at_once_to_one_file_the_last_one_wins(start, workplace):
    before = command.snapshot(workplace)
    # Of another model, that stops when it is about to write.
    models.linear().save(workplace / "linear.keras")
    first = start(
        "--model=linear.keras", *ARGUMENTS[1:], stopping_at="os.fsync"
    )
    first.child()
    second = start(*ARGUMENTS)
    assert second.end().status == 0
    assert_is_the_model(workplace / "existing.tflite")
    os.killpg(first.pid, signal.SIGTERM)
    first.end()
    assert_is_the_model(workplace / "existing.tflite")
    after = command.snapshot(workplace)
    assert after.keys() - before.keys() == {"linear.keras"}


def test_no_room_for_temporary_files_is_a_sentence(workplace):
    # No file can grow beyond it, in a process and in its children.
    resource = pytest.importorskip("resource")
    before = command.snapshot(workplace)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 10, hard))
    try:
        outcome = command.run_process(
            *ARGUMENTS, cwd=workplace, TMPDIR=str(workplace / "tmp")
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.status == 2
    assert re.fullmatch(r"tfconv-export: [^\n]+\n", outcome.stderr)
    assert "TMPDIR" in outcome.stderr
    assert command.snapshot(workplace) == before


@pytest.mark.parametrize("flags", [("-v",), ("--verbosity=1",)])
def test_tensorflow_is_heard_if_it_is_asked_for(workplace, flags):
    # Without, stderr is empty: cli_test.py.
    outcome = command.run_process(*ARGUMENTS, *flags, cwd=workplace)
    assert outcome.status == 0
    assert outcome.stderr
    assert "tfconv-export:" not in outcome.stderr


@pytest.mark.parametrize("full", [False, True])
def test_result_that_cannot_be_printed_is_written_all_the_same(
    good_files, tmp_path, full
):
    # As in `tfconv-export ... | head -1`, and on a full disk.
    if full and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    if full:
        writing = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, writing = os.pipe()
        os.close(reading)
    with os.fdopen(writing, "w") as stdout:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tfconv_export.cli",
                f"--model={good_files / 'model.keras'}",
                f"--output={tmp_path / 'out.tflite'}",
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 0
    assert (tmp_path / "out.tflite").read_bytes()[4:8] == b"TFL3"
    assert ("cannot be printed" in done.stderr) is full
    assert "Traceback" not in done.stderr
