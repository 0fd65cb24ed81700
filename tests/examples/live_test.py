"""Tests of the program that listens while words are spoken."""

import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfconv
import tfconv_export
from tests.examples import programs

features = programs.load("features")
live = programs.load("live")
spotting = programs.load("spotting")
wav_files = programs.load("wav_files")

PITCH = {"low": 400, "high": 2500}  # Hz


def _network(classes):
    return keras.Sequential(
        [
            keras.Input((features.WINDOW, features.BANDS), name="mel"),
            tfconv.SeparableConv1D(16, 5, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(classes),
        ]
    )


def _signal(count, seed):
    """Tones of 0.5 s every 1.5 s in noise, and where they are."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=8000 * (4 + count * 3 // 2)) * 0.003
    said = []
    for number, word in enumerate(rng.choice([*PITCH], count)):
        start = 3 + 1.5 * number
        tone = programs.sine(PITCH[word], 8000, 0.5)
        first = round(start * 8000)
        signal[first : first + len(tone)] += tone
        said.append(spotting.Word(start, start + 0.5, str(word)))
    return signal.astype("float32"), said


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with what the quickstart leaves, for words that are tones."""
    folder = tmp_path_factory.mktemp("live")
    keras.utils.set_random_seed(0)
    windows, labels = [], []
    for seed in range(2, 12):
        signal, said = _signal(4, seed)
        frames = features.Features().feed(signal)
        for end in range(features.WINDOW, len(frames), 5):
            windows.append(frames[end - features.WINDOW : end])
            middle = (end - features.WINDOW / 2) / 100
            inside = [w.word for w in said if w.start < middle < w.end]
            labels.append([*PITCH, *inside].index(inside[0]) if inside else 2)
    windows, labels = np.stack(windows), np.array(labels)
    model = _network(3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(windows, labels, epochs=25, verbose=0)
    tfconv_export.export_streaming(
        model,
        folder / "stream.tflite",
        hop=4,
        quantize="int8",
        representative_data=windows[::5],
        also_whole=folder / "whole.tflite",
    )
    (folder / "words.txt").write_text("low\nhigh\n_nothing_\n")
    signal, said = _signal(6, seed=1)
    wav_files.write(folder / "long.wav", signal, 8000)
    spotting.write_words(folder / "long.txt", said)
    return folder


def _live(monkeypatch, capsys, files, *arguments):
    return programs.run(
        live,
        monkeypatch,
        capsys,
        f"--model={files / 'stream.tflite'}",
        f"--labels={files / 'words.txt'}",
        *arguments,
    )


def _fails(monkeypatch, capsys, files, *arguments, status=2):
    found, _, error = _live(monkeypatch, capsys, files, *arguments)
    complaints = [line for line in error.splitlines() if "live: " in line]
    assert found == status, error
    assert "Traceback" not in error
    assert len(complaints) == 1
    return complaints[0]


def test_features_in_pieces_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=20_000).astype("float32")
    whole = features.Features().feed(signal)
    assert whole.shape == (248, 40)
    for lengths in ([1] * 500, [79, 81, 500], [320] * 60):
        listening = features.Features()
        pieces = np.split(signal, np.cumsum(lengths))
        fed = np.concatenate([listening.feed(piece) for piece in pieces])
        np.testing.assert_array_equal(fed, whole)


def test_features_are_log_mel_less_a_running_average():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=9000) * np.linspace(1, 0.01, 9000)
    signal = signal.astype("float32")
    power = np.abs(tf.signal.stft(signal, 200, 80, 256).numpy()) ** 2.0
    mel = power.astype("float64") @ tf.signal.linear_to_mel_weight_matrix(
        40, 129, 8000, 20, 4000, tf.float64
    )
    log = np.log(mel + 1e-8)
    peaks = log.max(axis=1)
    average, expected = None, []
    for now, frame in enumerate(log):
        # 30 dB, or 7 nats, below all peaks, which fade by 0.02 each frame.
        fading = peaks[: now + 1] - 0.02 * np.arange(now, -1, -1)
        frame = frame.clip(fading.max() - 7)
        average = frame if average is None else average
        average = average * 14 / 15 + frame / 15
        average = average.clip(fading.max() - 7)
        expected.append((frame - average) / 4)
    np.testing.assert_allclose(
        features.Features().feed(signal), expected, rtol=1e-3, atol=1e-3
    )


def test_the_gain_of_a_microphone_does_not_matter():
    signal, _ = _signal(3, seed=0)
    loud = features.Features().feed(signal)
    quiet = features.Features().feed(signal / 4)
    np.testing.assert_allclose(quiet, loud, atol=1e-2)


def test_spots_the_words_of_a_recording_and_draws_them(
    monkeypatch, capsys, files, tmp_path
):
    pytest.importorskip("matplotlib")
    status, out, _ = _live(
        monkeypatch,
        capsys,
        files,
        f"--wav={files / 'long.wav'}",
        f"--truth={files / 'long.txt'}",
        f"--plot={tmp_path / 'live.png'}",
        f"--check={files / 'whole.tflite'}",
    )
    assert status == 0
    assert "Of 6 words 6 were found, 0 taken for another, 0 missed; 0" in out
    said = spotting.read_words(files / "long.txt")
    lines = out.splitlines()[: len(said)]
    assert [line.split()[2] for line in lines] == [word.word for word in said]
    for line, word in zip(lines, said, strict=True):
        assert float(line.split()[0]) == pytest.approx(word.middle, abs=0.3)
    # 13 s are 1298 frames, or 324 hops; the first whole window is at the 25th.
    assert f"0 of {300 * 3} outputs differ from" in out
    png = (tmp_path / "live.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == 1440


def test_the_file_of_another_network_fails_the_check(
    monkeypatch, capsys, files, tmp_path
):
    keras.utils.set_random_seed(1)
    windows = np.random.default_rng(0).uniform(-1, 3, (100, 98, 40))
    tfconv_export.export(
        _network(3),
        tmp_path / "other.tflite",
        quantize="int8",
        representative_data=windows.astype("float32"),
    )
    complaint = _fails(
        monkeypatch,
        capsys,
        files,
        f"--wav={files / 'long.wav'}",
        f"--check={tmp_path / 'other.tflite'}",
        status=1,
    )
    assert "of 900 outputs differ" in complaint


@pytest.mark.parametrize("rate, channels", [(16000, 1), (44100, 2)])
def test_any_rate_and_channels_will_do(
    monkeypatch, capsys, files, tmp_path, rate, channels
):
    signal = wav_files.read(files / "long.wav", rate)
    signal = np.stack([signal] * channels, axis=1)
    path = programs.write(tmp_path / "other.wav", signal, rate)
    status, out, _ = _live(
        monkeypatch,
        capsys,
        files,
        f"--wav={path}",
        f"--truth={files / 'long.txt'}",
    )
    assert status == 0
    assert "Of 6 words 6 were found" in out


def test_the_terminal_shows_how_likely_each_word_was_over_time(
    monkeypatch, capsys, files
):
    status, out, _ = _live(
        monkeypatch, capsys, files, f"--wav={files / 'long.wav'}"
    )
    assert status == 0
    lines = {
        label: line
        for label in (files / "words.txt").read_text().split()
        for line in out.splitlines()
        if line.split()[:1] == [label] and "% " in line
    }
    assert set(lines) == set((files / "words.txt").read_text().split())
    for said in (files / "long.txt").read_text().splitlines():
        # From 19/20 on; nothing else was said most of the time.
        line = lines[said.split()[-1]].partition("% ")[2]
        assert "\N{FULL BLOCK}" in line
        assert line.count(" ") > len(line) / 4


def test_listens_to_a_microphone_until_it_is_interrupted(
    monkeypatch, capsys, files
):
    signal = wav_files.read(files / "long.wav", 8000)

    class InputStream:
        def __init__(self, samplerate, channels, dtype):
            assert (samplerate, channels, dtype) == (8000, 1, "float32")
            self.at = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, count):
            self.at += count
            if self.at > len(signal):
                raise KeyboardInterrupt
            return signal[self.at - count : self.at, np.newaxis], False

    module = types.ModuleType("sounddevice")
    module.InputStream, module.PortAudioError = InputStream, OSError
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    status, out, _ = _live(monkeypatch, capsys, files)
    assert status == 0
    words = [line for line in out.splitlines() if "%" in line]
    assert len(words) == 6


def test_without_sounddevice_it_says_what_to_install(
    monkeypatch, capsys, files
):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "pip install sounddevice" in _fails(monkeypatch, capsys, files)


def test_without_matplotlib_it_says_what_to_install(monkeypatch, capsys, files):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    complaint = _fails(monkeypatch, capsys, files, "--plot=live.png")
    assert "pip install 'tfconv[report]'" in complaint


@pytest.mark.parametrize(
    "flag, content",
    [
        ("wav", "no audio at all"),
        ("model", "no model at all"),
        ("truth", "no times at all"),
        ("check", "no model at all"),
        ("labels", "too\nfew\n"),
    ],
)
def test_a_broken_file_is_one_sentence(
    monkeypatch, capsys, files, tmp_path, flag, content
):
    path = tmp_path / "broken"
    path.write_text(content)
    arguments = [f"--wav={files / 'long.wav'}", f"--{flag}={path}"]
    complaint = _fails(monkeypatch, capsys, files, *arguments)
    assert str(path) in complaint or flag == "labels"


def test_a_missing_recording_is_one_sentence(monkeypatch, capsys, files):
    complaint = _fails(monkeypatch, capsys, files, "--wav=missing.wav")
    assert "missing.wav" in complaint


def test_a_recording_shorter_than_a_hop_is_one_sentence(
    monkeypatch, capsys, files, tmp_path
):
    path = programs.write(tmp_path / "short.wav", np.zeros(100))
    assert "too short" in _fails(monkeypatch, capsys, files, f"--wav={path}")


def test_words_are_counted_by_where_they_were_said():
    def word(middle, name):
        return spotting.Word(middle - 0.5, middle + 0.5, name)

    said = [word(at, name) for at, name in ((1, "a"), (3, "b"), (5, "c"))]
    spotted = [word(1.1, "a"), word(3, "a"), word(1.4, "b"), word(8, "a")]
    assert spotting.compare(spotted, said) == (1, 1, 1, 2)
    assert spotting.compare(said, said) == (3, 0, 0, 0)
    assert spotting.compare(said, []) == (0, 0, 0, 3)
