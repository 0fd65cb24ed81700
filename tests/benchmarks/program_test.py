"""Wrong usage of a benchmark program, before anything is measured."""

import pytest

from tests.benchmarks import command

# A program that measures nothing, and so needs no TensorFlow.
PROGRAM = '''
"""What it does."""

from absl import flags
from benchmarks import program, report

program.define_integers("kernel_sizes", [9], "Taps.")
flags.DEFINE_bool("torch", False, "PyTorch too.")

def main(command=None):
    if flags.FLAGS.torch:
        program.require_torch()
    report.Report("toy", {}, "", None)
    print(command or "measured", flags.FLAGS.kernel_sizes)

program.run(main)
'''


@pytest.fixture
def run(tmp_path):
    """Runs the program where neither matplotlib nor PyTorch is installed."""
    missing = tmp_path / "missing"
    missing.mkdir()
    for module in ("matplotlib", "torch"):
        (missing / f"{module}.py").write_text("raise ImportError")

    def call(*arguments, commands=()):
        text = PROGRAM.replace("run(main)", f"run(main, {commands})")
        (tmp_path / "toy.py").write_text(text)
        return command.run("toy.py", *arguments, folder=tmp_path, path=missing)

    return call


def test_it_needs_no_optional_package_for_itself(run):
    process = run("--kernel_sizes=3,31")
    assert process.stdout == "measured [3, 31]\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("--plot=picture.png", ["--plot", "matplotlib", "[benchmark]"]),
        ("--torch", ["--torch", "PyTorch", "[benchmark]"]),
        ("--json=nowhere/numbers.json", ["--json", "nowhere"]),
        ("--json=missing", ["--json", "missing"]),
        ("--kernel_sizes=9,0", ["kernel_sizes", "9,0"]),
        ("--kernel_sizes=nine", ["kernel_sizes", "nine"]),
        ("--rounds=0", ["rounds", "0"]),
        ("--unknown", ["unknown"]),
        ("stray", ["stray"]),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence_and_status_2(
    run, argument, names
):
    process = run(argument)
    assert process.returncode == 2
    assert process.stdout == ""
    (sentence,) = process.stderr.splitlines()
    assert sentence.startswith("toy: ")
    for name in names:
        assert name in sentence


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["first", "--kernel_sizes=3"], "first [3]\n"),
        ([], ""),
        (["third"], ""),
        (["first", "second"], ""),
    ],
)
def test_a_program_with_commands_takes_one_of_them(run, arguments, output):
    process = run(*arguments, commands=("first", "second"))
    assert process.stdout == output
    if output:
        assert process.returncode == 0
    else:
        assert process.returncode == 2
        assert process.stderr == (
            "toy: Expected one command: first or second.\n"
        )


def test_help_shows_the_docstring_and_every_flag(run):
    process = run("--help")
    assert process.returncode == 0
    assert "What it does." in process.stdout
    for flag in ("--json", "--plot", "--rounds", "--kernel_sizes"):
        assert flag in process.stdout
