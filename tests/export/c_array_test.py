"""--c_array: the same bytes, for a C++ compiler."""

import pathlib
import shutil
import subprocess

import pytest

from tests.export import command
from tfconv_export import agreement
from tfconv_export import c_array

MODEL = "--model=model.keras"
OUTPUT = "--output=out.tflite"

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="needs g++"
)

COMPILER = ("g++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic")
PROGRAM = """
#include "{header}"
#include "{header}"  // its guard holds
#include <cstdint>
#include <cstdio>
int main() {{
  if (reinterpret_cast<std::uintptr_t>(g_{name}) % 16) return 3;
  std::fwrite(g_{name}, 1, g_{name}_size, stdout);
}}
"""


def compiled_and_run(folder, source, name) -> bytes:
    """What a C++ program with the array in it writes."""
    header = pathlib.Path(source).with_suffix(".h")
    (folder / "main.cc").write_text(PROGRAM.format(header=header, name=name))
    subprocess.run(
        [*COMPILER, "main.cc", source, "-o", "program"],
        cwd=folder,
        check=True,
    )
    return subprocess.run(
        [folder / "program"], check=True, capture_output=True
    ).stdout


@needs_compiler
def test_a_program_has_the_bytes_of_the_file(run, workplace):
    outcome = run(MODEL, OUTPUT, "--c_array=Keyword-spotter.v2.cc")
    assert outcome.status == 0
    found = compiled_and_run(
        workplace, "Keyword-spotter.v2.cc", "keyword_spotter_v2"
    )
    assert found == (workplace / "out.tflite").read_bytes()


@needs_compiler
@pytest.mark.parametrize("size", [1, 11, 12, 13, 1000])
@pytest.mark.parametrize(
    ("stem", "name"),
    [("m", "m"), ("1st", "model_1st"), ("--", "model"), ("größe", "gr_e")],
)
def test_any_name_makes_a_valid_one(tmp_path, stem, name, size):
    content = bytes(range(256)) * 4
    for path, text in c_array.write(
        content[:size], tmp_path / f"{stem}.cpp"
    ).items():
        path.write_bytes(text)
    found = compiled_and_run(tmp_path, f"./{stem}.cpp", name)
    assert found == content[:size]


@pytest.mark.parametrize("path", ["model.c", "model.h", "model", "model.cc.gz"])
def test_other_suffixes_are_refused(refused, path):
    sentence = refused(MODEL, OUTPUT, f"--c_array={path}")
    assert f"--c_array={path}" in sentence
    assert ".cc" in sentence


@pytest.mark.parametrize("existing", ["array.cc", "array.h"])
def test_neither_file_is_replaced_unasked(refused, run, workplace, existing):
    (workplace / existing).write_text("precious")
    assert existing in refused(MODEL, OUTPUT, "--c_array=array.cc")
    assert (workplace / existing).read_text() == "precious"
    assert run(MODEL, OUTPUT, "--c_array=array.cc", "--overwrite").status == 0
    assert (workplace / existing).read_text() != "precious"


def test_a_failed_check_leaves_no_array(run, workplace, monkeypatch):
    monkeypatch.setitem(agreement.MIN_SQNR_DB, "int8", 1000.0)
    before = command.snapshot(workplace)
    outcome = run(
        MODEL,
        OUTPUT,
        "--c_array=array.cc",
        "--quantize=int8",
        "--representative_data=data.npy",
    )
    assert outcome.status == 1
    assert command.snapshot(workplace) == before
