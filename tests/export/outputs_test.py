"""Files that an export reads are never written; no two outputs are one."""

import os
import stat
import sys

import numpy as np
import pytest

import tfconv_export
from tests.export import models

MODEL = "--model=model.keras"
DATA = "--representative_data=data.npy"
CODE = (
    "import numpy as np\n"
    "def examples():\n"
    "    yield np.ones((40, 4), np.float32)\n"
)
SPEC = '{"audio": {"dtype": "float32", "shape": [40, 4]}}'


@pytest.fixture
def workplace(workplace, monkeypatch):
    """With one of everything else that is read, and other names of those."""
    # What is imported is looked for here, and not where other tests were.
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("given_code", "linked_code"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("given_code.py", "linked_code.py"):
        (workplace / name).write_text(CODE)
    (workplace / "user.py").write_text(f"import linked_code\n{CODE}")
    late = CODE.replace("    yield", "    import linked_code\n    yield")
    (workplace / "late.py").write_text(late)
    (workplace / "labels.txt").write_text("one\ntwo\n")
    (workplace / "spec.json").write_text(SPEC)
    (workplace / "inner.cfg").write_text("--quantize=int8\n")
    (workplace / "outer.cfg").write_text(
        f"--flagfile=inner.cfg\n{MODEL}\n{DATA}\n"
    )
    (workplace / "parts").mkdir()
    np.save(workplace / "parts" / "a.npy", models.DATA)
    (workplace / "parts" / "b.npy").symlink_to("../data.npy")
    (workplace / "golden").mkdir()
    np.save(workplace / "golden" / "input_audio.npy", models.DATA)
    (workplace / "report").mkdir()
    (workplace / "report" / "report.json").write_text(SPEC)
    os.link(workplace / "model.keras", workplace / "hard.keras")
    (workplace / "soft.keras").symlink_to("model.keras")
    variables = workplace / "saved_model" / "variables" / "variables.index"
    variables.rename(workplace / "index")
    variables.symlink_to(workplace / "index")
    return workplace


@pytest.mark.parametrize(
    ("read", "file"),
    [
        (f"{MODEL} --custom_module=given_code.py", "given_code.py"),
        (f"{MODEL} --data_function=given_code.py:examples", "given_code.py"),
        (f"{MODEL} --data_function=given_code:examples", "given_code.py"),
        (f"{MODEL} --data_function=user.py:examples", "linked_code.py"),
        (f"{MODEL} --data_function=late.py:examples", "linked_code.py"),
        (f"{MODEL} --labels=labels.txt", "labels.txt"),
        (f"{MODEL} --feature_spec=spec.json {DATA}", "spec.json"),
        (f"{MODEL} --evaluation_data=data.npz", "data.npz"),
        (f"{MODEL} --representative_data=dat?.np[y]", "data.npy"),
        (f"{MODEL} --representative_data=parts", "parts/a.npy"),
        (f"{MODEL} --representative_data=parts", "parts/new.tflite"),
        (f"{MODEL} --representative_data=parts", "data.npy"),
        ("--flagfile=outer.cfg", "outer.cfg"),
        ("--flagfile outer.cfg", "inner.cfg"),
        (MODEL, "hard.keras"),
        (MODEL, "soft.keras"),
        ("--model=hard.keras", "model.keras"),
        ("--model=soft.keras", "model.keras"),
        ("--model=saved_model", "index"),
        ("--model=saved_model", "saved_model/fingerprint.pb"),
    ],
)
def test_no_file_that_is_read_is_written(refused, read, file):
    sentence = refused(*read.split(), f"--output={file}", "--overwrite")
    assert "--output=" in sentence
    assert "give another name" in sentence


@pytest.mark.parametrize(
    "arguments",
    [
        f"{MODEL} --representative_data=golden/input_audio.npy "
        "--golden_dir=golden",
        f"{MODEL} --representative_data=golden --golden_dir=golden",
        f"{MODEL} {DATA} --feature_spec=report/report.json --report_dir=report",
    ],
)
def test_no_file_that_is_read_is_written_into_a_directory(refused, arguments):
    sentence = refused(*arguments.split(), "--output=out.tflite", "--overwrite")
    assert "_dir=" in sentence
    assert "give another name" in sentence


@pytest.mark.parametrize(
    "outputs",
    [
        "--output=report/report.json --report_dir=report",
        "--output=out.tflite --report=report/page.html --report_dir=report "
        "--c_array=page.cc --golden_dir=report",
        "--output=out.tflite --c_array=golden/golden.cc --golden_dir=golden",
        "--output=golden/output_any.npy --golden_dir=golden",
        "--output=out.tflite --report=OUT.tflite",
        "--output=out.h --c_array=out.cc",
        "--output=out.tflite --report=out_vela.tflite --target=ethos-u55-128 "
        "--quantize=int8",
        "--output=report --report_dir=./report",
        "--output=out.tflite --also_whole=report/../out.tflite --stream_hop=4",
    ],
)
def test_no_two_outputs_are_one_file(refused, workplace, outputs):
    if "--output=report " in outputs:
        (workplace / "report" / "report.json").unlink()
        (workplace / "report").rmdir()
    sentence = refused(MODEL, DATA, *outputs.split(), "--overwrite")
    assert "over one another" in sentence


def test_python_call_does_not_write_what_it_reads(workplace):
    before = (workplace / "given_code.py").read_bytes()
    for arguments in (
        {"model": "model.keras", "custom_module": "given_code.py"},
        {
            "model": models.linear((40, 4)),
            "data_function": "given_code.py:examples",
        },
    ):
        with pytest.raises(tfconv_export.UsageError, match="would overwrite"):
            tfconv_export.export(
                **arguments, output="given_code.py", overwrite=True
            )
    assert (workplace / "given_code.py").read_bytes() == before


def test_links_in_a_directory_stay_and_what_they_point_to_is_written(
    run, workplace
):
    (workplace / "elsewhere").mkdir()
    for name in ("golden/golden.cc", "report/report.json"):
        link = workplace / name
        link.unlink(missing_ok=True)
        link.symlink_to(workplace / "elsewhere" / link.name)
    outcome = run(
        *(MODEL, DATA, "--output=out.tflite", "--overwrite"),
        *("--golden_dir=golden", "--report_dir=report"),
    )
    assert outcome.status == 0, outcome.stderr
    for name in ("golden/golden.cc", "report/report.json"):
        assert (workplace / name).is_symlink()
    names = {path.name for path in (workplace / "elsewhere").iterdir()}
    assert names == {"golden.cc", "report.json"}


@pytest.mark.parametrize(
    "name", ["golden/golden.h", "golden/input_audio.npy", "report/scatter.png"]
)
def test_what_is_not_a_file_is_not_replaced_in_a_directory(
    refused, workplace, name
):
    path = workplace / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    flag = f"--{path.parent.name}_dir={path.parent.name}"
    sentence = refused(MODEL, DATA, "--output=out.tflite", "--overwrite", flag)
    assert name in sentence
    assert stat.S_ISFIFO(path.stat().st_mode)
