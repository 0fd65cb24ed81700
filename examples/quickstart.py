"""Quickstart: recordings of words -> a trained network -> an int8 TFLite file.

Without flags it makes up recordings of ten words, and takes about a minute:

  python examples/quickstart.py

With --data_dir it reads yours, `<data_dir>/<word>/<speaker>_<anything>.wav` as
in the Speech Commands data set; test speakers are not in the training set:

  python examples/quickstart.py --data_dir=words --holdout=alice --epochs=40

Exit status: 0 done; 1 the export failed; 2 the recordings cannot be used.
"""

import os
import pathlib
import sys
import time

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import spotting
import tensorflow as tf
import wav_files
from absl import app
from absl import flags
from absl import logging
from ai_edge_litert.interpreter import Interpreter
from features import BANDS
from features import SAMPLE_RATE
from features import WINDOW
from features import Features

import tfconv
import tfconv_export
from tfconv_export import CheckError
from tfconv_export import UsageError

_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "One folder of WAV files per word. Default: made up."
)
_HOLDOUT = flags.DEFINE_string(
    "holdout", None, "Prefix of the test files. Default: a fifth of speakers."
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "quickstart_output", "Where the models go."
)
_EPOCHS = flags.DEFINE_integer("epochs", 30, "Passes over the data.", 1)
_EXAMPLES = flags.DEFINE_integer("examples", 2000, "Made-up recordings.", 100)
_SEED = flags.DEFINE_integer("seed", 0, "The same seed, the same result.", 0)

SAMPLES = SAMPLE_RATE  # All recordings are brought to one second.
SECOND = 100  # frames
BATCH, CUT = 64, 16
NOTHING = "_nothing_"

# The words of a made-up language: three formants in Hz for every letter.
LOWEST, HIGHEST = (250, 800, 2000), (800, 2000, 3600)
FORMANTS = np.random.default_rng(0).uniform(LOWEST, HIGHEST, (26, 3))
WORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]


# 1. Data: audio (n, samples), labels (n,), names of the n files, words.
Recordings = tuple[np.ndarray, np.ndarray, list[str], list[str]]


def synthesize(
    word: str, pitch: float, tract: float, rng: np.random.Generator
) -> np.ndarray:
    """Someone with that pitch, in Hz, and that vocal tract says a word."""
    letters = [ord(letter) - ord("a") for letter in word]
    lengths = rng.uniform(0.06, 0.16, len(word)) * SAMPLE_RATE
    ends = rng.uniform(0.05, 0.3) * SAMPLE_RATE + np.cumsum(lengths)
    centers = ends - lengths / 2
    now = np.arange(SAMPLES)
    intonation = rng.uniform(0.85, 1.15, len(word))
    frequency = pitch * np.interp(now, centers, intonation)
    # Each pulse of the vocal folds makes the formants ring, and die away.
    since_pulse = (np.cumsum(frequency) / SAMPLE_RATE % 1) / frequency
    speech = np.zeros(SAMPLES)
    for number, formant in enumerate(FORMANTS[letters].T, 1):
        formant = tract * formant * rng.normal(1, 0.06, len(word))
        formant = np.interp(now, centers, np.minimum(formant, 3900))
        ringing = np.exp(-380 * number * since_pulse) / number
        speech += ringing * np.sin(2 * np.pi * formant * since_pulse)
    edges = [ends[0] - lengths[0], centers[0], centers[-1], ends[-1]]
    speech *= np.interp(now, edges, [0, 1, 1, 0])
    speech += rng.normal(size=SAMPLES) * 10 ** rng.uniform(-2, -0.5)
    return (speech * rng.uniform(0.1, 0.3)).astype("float32")


def make_up_recordings(count: int, seed: int) -> Recordings:
    """Recordings by 40 speakers with different voices."""
    rng = np.random.default_rng(seed)
    voices = rng.uniform((90, 0.85), (250, 1.2), (40, 2))
    speakers = rng.integers(len(voices), size=count)
    labels = np.arange(count) % len(WORDS)
    audio = [
        synthesize(WORDS[label], *voices[speaker], rng)
        for label, speaker in zip(labels, speakers, strict=True)
    ]
    files = [f"{speaker}_{take}.wav" for take, speaker in enumerate(speakers)]
    return np.stack(audio), labels, files, WORDS


def read_wav(path: pathlib.Path) -> np.ndarray:
    """The middle second of a WAV file of any rate, length and channels."""
    audio = np.pad(wav_files.read(path, SAMPLE_RATE), SAMPLES // 2)
    start = (len(audio) - SAMPLES) // 2
    return audio[start : start + SAMPLES]


def read_recordings(data_dir: pathlib.Path) -> Recordings:
    """Reads `<data_dir>/<word>/*.wav`."""
    if not data_dir.is_dir():
        raise UsageError(f"--data_dir={data_dir} is not a folder.")
    found = {}
    for folder in sorted(data_dir.iterdir()):
        paths = sorted(folder.glob("*.[wW][aA][vV]"))
        # Speech Commands has _background_noise_ beside its words.
        if paths and not folder.name.startswith((".", "_")):
            found[folder.name] = paths
    if len(found) < 2:
        raise UsageError(
            f"--data_dir={data_dir} must have a folder of WAV files for each "
            f"of at least two words. Found: {', '.join(found) or 'none'}."
        )
    paths = [path for paths in found.values() for path in paths]
    labels = np.repeat(np.arange(len(found)), [*map(len, found.values())])
    audio = np.stack([read_wav(path) for path in paths])
    return audio, labels, [path.name for path in paths], list(found)


def choose_test(files: list[str], holdout: str | None, seed: int) -> np.ndarray:
    """Which files form the test set, bool of shape (n,)."""
    speakers = [file.split("_")[0] for file in files]
    speakers = speakers if len(set(speakers)) > 1 else files
    names = sorted(set(speakers))
    if holdout is None:
        names = np.random.default_rng(seed).permutation(names)
        test = np.isin(speakers, names[: max(1, len(names) // 5)])
    else:
        test = np.array([file.startswith(holdout) for file in files])
    if test.all() or not test.any():
        raise UsageError(
            f"--holdout={holdout} leaves nothing to train on or nothing to "
            f"test on. The speakers are: {', '.join(names[:9])}."
        )
    return test


def string_together(
    audio: np.ndarray, words: list[str], rng: np.random.Generator
) -> tuple[np.ndarray, list[spotting.Word]]:
    """A long recording of all with pauses, and where the words are in it."""
    pieces, said, now = [], [], 0
    for spoken, word in zip(audio, words, strict=True):
        pieces.append(np.zeros(int(rng.uniform(0.2, 1) * SAMPLE_RATE)))
        now += len(pieces[-1])
        spoken = np.trim_zeros(spoken)
        fade = np.minimum(1, np.arange(len(spoken)) / 160)
        pieces.append(spoken * fade * fade[::-1])
        start, now = now, now + len(spoken)
        said.append(spotting.Word(start / SAMPLE_RATE, now / SAMPLE_RATE, word))
    signal = np.concatenate([*pieces, np.zeros(SAMPLES)]).astype("float32")
    # No room is silent: noise 30 dB below the words.
    loudness = np.sqrt(np.mean(audio**2))
    signal += rng.normal(size=len(signal)) * loudness / 30
    return signal, said


# 2. Features: those of a live signal, in a tf.data pipeline.


def augmented_features(audio: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """What others would have recorded; another seed for every batch.

    A window hears what the signal was before, so each recording follows on
    another one. After their windows come CUT that lie between the two, with
    words that are cut off.

    Returns:
        float32 of (BATCH + CUT, WINDOW, BANDS).
    """
    seeds = iter(tf.unstack(tf.random.split(seed, 8)))

    def uniform(low, high, count=BATCH):
        shape = (count, 1)
        return tf.random.stateless_uniform(shape, next(seeds), low, high)

    # Played faster, a voice is higher and its vocal tract shorter.
    speed, shift = tf.exp(uniform(-0.2, 0.2)), uniform(-0.1, 0.1)
    at = (tf.range(SAMPLES, dtype=tf.float32) / SAMPLES - 0.5) * speed
    at = tf.clip_by_value((at + 0.5 + shift) * SAMPLES, 0, SAMPLES - 2)
    before = tf.cast(at, tf.int32)
    left = tf.gather(audio, before, batch_dims=1)
    right = tf.gather(audio, before + 1, batch_dims=1)
    audio = left + (at - tf.floor(at)) * (right - left)

    signal = tf.concat([tf.roll(audio, 1, 0), audio], 1)
    loudness = tf.sqrt(tf.reduce_mean(signal**2, 1, keepdims=True)) + 1e-3
    noise = tf.random.stateless_normal(signal.shape, next(seeds))
    signal += noise * loudness * 10 ** -uniform(0.25, 3.5)
    frames = tf.numpy_function(
        lambda samples: Features().feed(samples), [signal], tf.float32, False
    )
    words, cut = frames[:, SECOND:], frames[:CUT, SECOND // 2 :][:, :WINDOW]
    features = tf.concat([words, cut], 0)
    features = tf.ensure_shape(features, (BATCH + CUT, WINDOW, BANDS))

    # SpecAugment: nothing may hang on one moment or on one band.
    average = tf.reduce_mean(features, [1, 2], keepdims=True)
    for axis, size, widest in ((1, WINDOW, 10), (2, BANDS, 8)):
        width = uniform(0, widest, BATCH + CUT)
        start = uniform(0, 1, BATCH + CUT) * (size - width)
        index = tf.range(size, dtype=tf.float32)
        masked = (index >= start) & (index < start + width)
        masked = tf.expand_dims(masked, 3 - axis)
        features = tf.where(masked, average, features)
    return features


def features_of(signal: np.ndarray) -> np.ndarray:
    """Of each second of a signal: float32 of (n, WINDOW, BANDS)."""
    frames = Features().feed(signal)
    starts = range(0, len(frames) - WINDOW + 1, SECOND)
    return np.stack([frames[start : start + WINDOW] for start in starts])


# 3. Model, and its training with XLA.


def build_model(labels: int) -> keras.Model:
    """A DS-CNN over time, with the mel bands as channels."""
    inputs = outputs = keras.Input((WINDOW, BANDS), name="log_mel")
    for kernel_size, strides in ((9, 2), (7, 1), (5, 2), (5, 1)):
        # Without padding, so that it can run frame by frame.
        outputs = tfconv.SeparableConv1D(
            96, kernel_size, strides=strides, use_bias=False
        )(outputs)
        # A short training has too few steps for the default momentum.
        outputs = keras.layers.BatchNormalization(momentum=0.9)(outputs)
        outputs = keras.layers.ReLU()(outputs)
    outputs = keras.layers.GlobalAveragePooling1D()(outputs)
    outputs = keras.layers.Dropout(0.3)(outputs)
    outputs = keras.layers.Dense(labels, name="logits")(outputs)
    return keras.Model(inputs, outputs, name="ds_cnn")


def train(model: keras.Model, audio: np.ndarray, labels: np.ndarray) -> None:
    """Trains the model in place, on another augmentation in every epoch.

    Its last class is for pauses, of which a tenth is added, and for words that
    are cut off.
    """
    nothing = model.output_shape[-1] - 1
    pauses = len(audio) // 9
    audio = np.pad(audio, [(0, pauses), (0, 0)])
    labels = np.pad(labels, (0, pauses), constant_values=nothing)
    dataset = tf.data.Dataset.from_tensor_slices((audio, labels))
    dataset = dataset.shuffle(len(audio), _SEED.value).repeat()
    # A shorter last batch would be another shape, for XLA to compile again.
    dataset = dataset.batch(BATCH, drop_remainder=True)
    seeds = tf.data.Dataset.random(_SEED.value).batch(2)

    def prepare(batch, seed):
        labels = tf.pad(batch[1], [(0, CUT)], constant_values=nothing)
        targets = tf.one_hot(labels, nothing + 1)
        return augmented_features(batch[0], seed), targets

    dataset = tf.data.Dataset.zip(dataset, seeds).map(
        prepare, num_parallel_calls=tf.data.AUTOTUNE
    )
    epochs, steps = _EPOCHS.value, max(1, len(audio) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(4e-3, epochs * steps)
    # Soft targets, lest it becomes too sure of the speakers it knows.
    loss = keras.losses.CategoricalCrossentropy(True, label_smoothing=0.1)
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=True)
    model.fit(
        dataset, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=2
    )


# 4. The TFLite files, run as a device would run them.


def run_tflite(
    path: pathlib.Path, inputs: np.ndarray
) -> tuple[np.ndarray, str]:
    """Labels of all examples, and the median latency on one thread."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    (sink,) = interpreter.get_output_details()
    scale, zero_point = source["quantization"]
    if scale:
        limits = np.iinfo(source["dtype"])
        inputs = np.round(inputs / scale) + zero_point
        inputs = inputs.clip(limits.min, limits.max)
    labels, latencies = [], []
    for example in inputs.astype(source["dtype"]):
        interpreter.set_tensor(source["index"], example[np.newaxis])
        start = time.perf_counter()
        interpreter.invoke()
        latencies.append(time.perf_counter() - start)
        labels.append(interpreter.get_tensor(sink["index"]).argmax())
    return np.array(labels), f"{1e6 * np.median(latencies):.1f} us"


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise UsageError(f"Unexpected argument: {argv[1]}.")
    logging.set_verbosity(logging.WARNING)
    seed = _SEED.value
    keras.utils.set_random_seed(seed)
    if _DATA_DIR.value is None:
        recordings = make_up_recordings(_EXAMPLES.value, seed)
    else:
        recordings = read_recordings(pathlib.Path(_DATA_DIR.value))
    audio, labels, files, words = recordings
    test = choose_test(files, _HOLDOUT.value, seed)
    output_dir = pathlib.Path(_OUTPUT_DIR.value)
    output_dir.mkdir(parents=True, exist_ok=True)
    print(f"{np.sum(~test)} recordings to train on, {np.sum(test)} to test on")

    model = build_model(len(words) + 1)
    train(model, audio[~test], labels[~test])
    trained = output_dir / "model.keras"
    model.save(trained)
    rng = np.random.default_rng(seed)
    features = features_of(audio[test].reshape(-1))
    # What tfconv-export needs, to be tried on this model.
    representative = output_dir / "representative.npy"
    chosen = rng.permutation(np.flatnonzero(~test))[:200]
    signal, _ = string_together(audio[chosen], labels[chosen], rng)
    np.save(representative, features_of(signal))
    np.savez(output_dir / "evaluation.npz", x=features, y=labels[test])
    names = "".join(f"{word}\n" for word in [*words, NOTHING])
    (output_dir / "words.txt").write_text(names)
    # What examples/live.py needs.
    chosen = rng.permutation(np.flatnonzero(test))[:120]
    signal, said = string_together(
        audio[chosen], [words[label] for label in labels[chosen]], rng
    )
    wav_files.write(output_dir / "long.wav", signal, SAMPLE_RATE)
    spotting.write_words(output_dir / "long.txt", said)

    tfconv_export.export(trained, output_dir / "float32.tflite", overwrite=True)
    result = tfconv_export.export_streaming(
        trained,
        output_dir / "stream.tflite",
        hop=4,
        quantize="int8",
        representative_data=representative,
        also_whole=output_dir / "int8.tflite",
        overwrite=True,
    )
    print(f"\n{result.plan}")

    found = model.predict(features, batch_size=256, verbose=0).argmax(axis=1)
    rows = [("Keras", trained, found, "-")]
    for name in ("float32", "int8"):
        path = output_dir / f"{name}.tflite"
        rows.append((name, path, *run_tflite(path, features)))
    print(f"\n{'model':8} {'accuracy':>8} {'bytes':>9} {'latency':>8}  file")
    for name, path, found, latency in rows:
        accuracy, size = np.mean(found == labels[test]), path.stat().st_size
        print(f"{name:8} {accuracy:8.1%} {size:9,} {latency:>8}  {path}")


def run() -> None:
    """The program: parses `sys.argv`, and exits."""
    # `bazel run` starts in a folder of its own; paths are the caller's.
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    try:
        app.run(main)
    except (UsageError, CheckError, OSError) as error:
        print(f"quickstart: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, CheckError) else 2)


if __name__ == "__main__":
    run()
