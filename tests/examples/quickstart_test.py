"""Tests of the program a new user runs first."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.examples import programs
from tests.examples.programs import sine as _sine
from tests.examples.programs import write as _write

PROGRAM = programs.FOLDER / "quickstart.py"
quickstart = programs.load("quickstart")
wav_files = programs.load("wav_files")


def _run(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _fails(monkeypatch, capsys, *arguments):
    """Runs the program here; its one line of complaint."""
    status, _, error = programs.run(quickstart, monkeypatch, capsys, *arguments)
    assert status == 2
    assert error.startswith("quickstart: ")
    assert error.count("\n") == 1
    return error


@pytest.fixture
def words(tmp_path):
    """Two words by three speakers, as noise: (folder, its rng)."""
    rng = np.random.default_rng(0)
    for word in ("no", "yes"):
        for speaker in ("ann", "bob", "cy"):
            path = tmp_path / "words" / word / f"{speaker}_0.wav"
            _write(path, rng.uniform(-0.5, 0.5, 6000))
    return tmp_path / "words"


def test_trains_exports_and_compares_from_start_to_end(tmp_path):
    done = _run(
        "--examples=200",
        "--epochs=1",
        "--output_dir=out",
        cwd=pathlib.Path("/"),
        BUILD_WORKING_DIRECTORY=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    table = done.stdout.splitlines()[-4:]
    assert table[0].split() == ["model", "accuracy", "bytes", "latency", "file"]
    files = {"Keras": "model.keras", "float32": "float32.tflite"}
    files["int8"] = "int8.tflite"
    for line, (name, file) in zip(table[1:], files.items(), strict=True):
        size = (tmp_path / "out" / file).stat().st_size
        accuracy = r"\d+\.\d%"
        latency = "-" if name == "Keras" else r"\d+\.\d us"
        pattern = rf"{name} +{accuracy} +{size:,} +{latency} +out.{file}"
        assert re.fullmatch(pattern, line)


def test_reads_a_folder_per_word_and_holds_out_a_speaker(words):
    audio, labels, files, names = quickstart.read_recordings(words)
    assert audio.shape == (6, 8000)
    assert [names[label] for label in labels] == ["no"] * 3 + ["yes"] * 3
    test = quickstart.choose_test(files, "bob", seed=0)
    held_out = [
        file for file, chosen in zip(files, test, strict=True) if chosen
    ]
    assert held_out == ["bob_0.wav"] * 2


def test_a_missing_data_dir_is_one_sentence(monkeypatch, capsys, tmp_path):
    missing = tmp_path / "missing"
    error = _fails(monkeypatch, capsys, f"--data_dir={missing}")
    assert str(missing) in error


def test_an_empty_data_dir_is_one_sentence(monkeypatch, capsys, tmp_path):
    error = _fails(monkeypatch, capsys, f"--data_dir={tmp_path}")
    assert "Found: none" in error


def test_a_single_word_is_one_sentence(monkeypatch, capsys, tmp_path):
    _write(tmp_path / "yes" / "ann_0.wav", _sine(440, 8000, 1))
    error = _fails(monkeypatch, capsys, f"--data_dir={tmp_path}")
    assert "Found: yes" in error


@pytest.mark.parametrize(
    "content",
    [b"", b"no audio at all", b"RIFF\x24\x00\x00\x00WAVEfmt "],
    ids=["empty", "text", "cut off"],
)
def test_a_broken_file_is_one_sentence(monkeypatch, capsys, words, content):
    broken = words / "yes" / "dan_0.wav"
    broken.write_bytes(content)
    error = _fails(monkeypatch, capsys, f"--data_dir={words}")
    assert str(broken) in error


def test_8_bit_audio_is_one_sentence(monkeypatch, capsys, words):
    path = words / "yes" / "dan_0.wav"
    _write(path, _sine(440, 8000, 1), width=1)
    error = _fails(monkeypatch, capsys, f"--data_dir={words}")
    assert str(path) in error
    assert "8-bit" in error


def test_a_file_without_samples_is_one_sentence(monkeypatch, capsys, words):
    path = _write(words / "yes" / "dan_0.wav", [])
    error = _fails(monkeypatch, capsys, f"--data_dir={words}")
    assert str(path) in error


def test_an_unknown_holdout_is_told_the_speakers(monkeypatch, capsys, words):
    error = _fails(monkeypatch, capsys, f"--data_dir={words}", "--holdout=zoe")
    assert "zoe" in error
    assert "ann, bob, cy" in error


def test_an_output_dir_that_is_a_file_is_one_sentence(
    monkeypatch, capsys, words, tmp_path
):
    path = tmp_path / "file"
    path.touch()
    error = _fails(
        monkeypatch, capsys, f"--data_dir={words}", f"--output_dir={path}"
    )
    assert str(path) in error


def test_background_noise_is_not_a_word(words):
    _write(words / "_background_noise_" / "rain.wav", _sine(99, 8000, 3))
    *_, names = quickstart.read_recordings(words)
    assert names == ["no", "yes"]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_a_sine_stays_that_sine_at_any_rate(tmp_path, rate):
    path = _write(tmp_path / "sine.wav", _sine(500, rate, 1), rate)
    audio = quickstart.read_wav(path)
    np.testing.assert_allclose(audio, _sine(500, 8000, 1), atol=1e-3)


def test_what_the_new_rate_cannot_hold_is_gone_not_folded_back():
    audio = wav_files.resample(_sine(7000, 16000, 1), 16000, 8000)
    assert np.abs(audio).max() < 1e-9


def test_stereo_becomes_the_mean_of_its_channels(tmp_path):
    left, right = _sine(500, 8000, 1), _sine(900, 8000, 1)
    path = _write(tmp_path / "a.wav", np.stack([left, right], axis=1))
    audio = quickstart.read_wav(path)
    np.testing.assert_allclose(audio, (left + right) / 2, atol=1e-3)


@pytest.mark.parametrize("seconds", [1 / 8000, 0.3, 1.0, 2.5])
def test_any_length_becomes_one_second_around_the_middle(tmp_path, seconds):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, round(8000 * seconds))
    audio = quickstart.read_wav(_write(tmp_path / "a.wav", sound))
    assert audio.shape == (8000,)
    assert audio.dtype == np.float32
    middle, kept = len(sound) // 2, min(len(sound), 8000) // 2
    np.testing.assert_allclose(
        audio[4000 - kept : 4000 + kept],
        sound[middle - kept : middle + kept],
        atol=1e-3,
    )


def test_no_speaker_is_in_both_sets():
    files = [f"s{number % 30}_{number}.wav" for number in range(600)]
    test = quickstart.choose_test(files, None, seed=3)
    speakers = np.array([file.split("_")[0] for file in files])
    assert 0.1 < test.mean() < 0.3
    assert not set(speakers[test]) & set(speakers[~test])


def test_a_long_recording_says_where_its_words_are(words):
    audio, labels, _, names = quickstart.read_recordings(words)
    said = [names[label] for label in labels]
    signal, places = quickstart.string_together(
        audio, said, np.random.default_rng(0)
    )
    assert [place.word for place in places] == said
    loud = np.abs(signal) > 0.1
    inside = np.zeros(len(signal), bool)
    for place in places:
        start, end = round(8000 * place.start), round(8000 * place.end)
        assert end - start == 6000
        inside[start:end] = True
    assert loud[inside].mean() > 0.7
    assert not loud[~inside].any()


def test_the_same_seed_gives_the_same_data():
    first, again = (quickstart.make_up_recordings(20, 5) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    audio = np.resize(first[0], (quickstart.BATCH, 8000))
    seed = tf.constant([1, 2], tf.int64)
    augmented = [
        quickstart.augmented_features(audio, seed).numpy() for _ in range(2)
    ]
    np.testing.assert_array_equal(*augmented)
    assert np.isfinite(augmented[0]).all()
    features = quickstart.features_of(audio.reshape(-1))
    assert features.shape == (64, 98, 40)
    assert np.abs(augmented[0][:64] - features).max() > 0.1
