"""Representative data: what is taken, and what is refused in one sentence."""

import shutil

import numpy as np
import pytest

from tests.export import models
from tests.export.tflite import TFLiteFile


def _with(value):
    data = models.DATA.copy()
    data[3, 2, 1] = value
    return data


ARRAYS = {
    "data": models.DATA,
    "nan": _with(np.nan),
    "infinite": _with(np.inf),
    "float64_beyond_float32": _with(0).astype(np.float64) + 1e300,
    "empty": models.DATA[:0],
    "scalar": np.float32(1),
    "one_example": models.DATA[0],
    "other_steps": models.DATA[:, :20],
    "other_channels": models.DATA[:, :, :2],
    "rank_4": models.DATA[..., None],
    "objects": np.array([{"a": 1}, None]),
    "strings": np.full((2, 40, 4), "a"),
    "complex": models.DATA * 1j,
    "dates": np.zeros((2, 40, 4), "datetime64[s]"),
    "records": np.zeros((2, 40, 4), [("a", "f4")]),
}


@pytest.fixture(scope="module")
def data_files(good_files, tmp_path_factory):
    """A directory with data of every kind, much of it unusable."""
    directory = tmp_path_factory.mktemp("data")
    for name, array in ARRAYS.items():
        np.save(directory / f"{name}.npy", array, allow_pickle=True)
    np.savez_compressed(directory / "small.npz", x=models.DATA)
    np.savez(directory / "two.npz", x=models.DATA, y=2 * models.DATA)
    np.savez(directory / "none.npz")
    np.savez(directory / "pickled.npz", x=ARRAYS["objects"])
    for name in ("foreign.npy", "foreign.npz"):
        (directory / name).write_text("It is not what it says it is.\n")
    for name in ("data.npy", "data.npz"):
        content = (good_files / name).read_bytes()
        (directory / f"half_{name}").write_bytes(content[: len(content) // 2])
    shutil.copy(good_files / "data.npy", directory / "npy_inside.npz")
    shutil.copy(good_files / "data.npz", directory / "npz_inside.npy")
    shutil.copy(good_files / "data.npy", directory / "data.txt")
    (directory / "directory").mkdir()
    return directory


@pytest.fixture
def workplace(workplace, data_files):
    shutil.copytree(data_files, workplace, dirs_exist_ok=True)
    return workplace


GOOD = ("--model=model.keras", "--output=out.tflite")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.npy", "not a file"),
        ("directory", "holds no .npy"),
        ("data.txt", ".npz"),
        ("foreign.npy", "cannot be read"),
        ("foreign.npz", "cannot be read"),
        ("half_data.npy", "cannot be read"),
        ("half_data.npz", "cannot be read"),
        ("none.npz", "0 arrays"),
        ("two.npz", "--representative_key"),
        ("pickled.npz", "cannot be read"),
        ("objects.npy", "cannot be read"),
        ("strings.npy", "<U1"),
        ("complex.npy", "complex64"),
        ("dates.npy", "datetime64"),
        ("records.npy", "must hold floats or integers"),
        ("nan.npy", "example 3"),
        ("infinite.npy", "example 3"),
        ("float64_beyond_float32.npy", "infinite"),
        ("empty.npy", "no examples"),
        ("scalar.npy", "no examples"),
        ("one_example.npy", "(n, 40, 4)"),
        ("other_steps.npy", "(n, 40, 4)"),
        ("other_channels.npy", "(n, 40, 4)"),
        ("rank_4.npy", "(n, 40, 4)"),
    ],
)
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_unusable_representative_data(refused, name, reason, quantize):
    sentence = refused(
        *GOOD, f"--quantize={quantize}", f"--representative_data={name}"
    )
    assert name in sentence
    assert reason in sentence


@pytest.mark.parametrize("name", ["data.npz", "small.npz", "data.npy"])
def test_damaged_representative_data_never_shows_a_traceback(
    workplace, run, name
):
    # A damaged number may go unnoticed; a damaged file may not crash.
    content = (workplace / name).read_bytes()
    rng = np.random.default_rng(0)
    places = [*range(0, 130), *rng.integers(0, len(content), 30)]
    places += [len(content) - n for n in range(1, 120)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        (workplace / name).write_bytes(damaged)
        outcome = run(
            "--model=missing.keras",
            "--output=out.tflite",
            f"--representative_data={name}",
        )
        assert outcome.status == 2
        assert outcome.stderr.count("\n") == 1


def test_key_that_is_not_in_the_file(refused):
    sentence = refused(
        *GOOD, "--representative_data=two.npz", "--representative_key=z"
    )
    assert "x, y" in sentence


@pytest.mark.parametrize("quantize", ["int8", "int16x8"])
def test_integers_without_representative_data(refused, quantize):
    sentence = refused(*GOOD, f"--quantize={quantize}")
    assert "--representative_data" in sentence


@pytest.mark.parametrize(
    ("arguments", "factor"),
    [
        (["--representative_data=data.npy"], 1),
        (["--representative_data=data.npz"], 1),
        (["--representative_data=small.npz"], 1),
        # Read as what they are, not as what they are called.
        (["--representative_data=npy_inside.npz"], 1),
        (["--representative_data=npz_inside.npy"], 1),
        (["--representative_data=two.npz", "--representative_key=x"], 1),
        (["--representative_data=two.npz", "--representative_key=y"], 2),
    ],
)
def test_ranges_come_from_the_array_that_was_chosen(
    run, workplace, arguments, factor
):
    outcome = run(*GOOD, "--quantize=int8", *arguments)
    assert outcome.status == 0
    file = TFLiteFile(workplace / "out.tflite")
    scale, _ = file.inputs["audio"]["quantization"]
    assert scale == pytest.approx(factor * np.ptp(models.DATA) / 255, rel=0.01)


def test_ranges_and_open_steps_come_from_a_function(run, workplace):
    (workplace / "program.py").write_text(
        "import numpy as np\n"
        "def examples():\n"
        "    for example in np.load('data.npy'):\n"
        "        yield 3 * example\n"
    )
    outcome = run(
        "--model=open.keras",
        "--output=out.tflite",
        "--quantize=int8",
        "--representative_data=program.py:examples",
    )
    assert outcome.status == 0, outcome.stderr
    details = TFLiteFile(workplace / "out.tflite").inputs["audio"]
    assert list(details["shape"]) == [1, 40, 4]
    scale, _ = details["quantization"]
    assert scale == pytest.approx(3 * np.ptp(models.DATA) / 255, rel=0.01)
