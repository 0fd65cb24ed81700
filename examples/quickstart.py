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
import wave

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from absl import app
from absl import flags
from absl import logging
from ai_edge_litert.interpreter import Interpreter

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
_EPOCHS = flags.DEFINE_integer("epochs", 15, "Passes over the data.", 1)
_EXAMPLES = flags.DEFINE_integer("examples", 2000, "Made-up recordings.", 100)
_SEED = flags.DEFINE_integer("seed", 0, "The same seed, the same result.", 0)

# All recordings are brought to one second at this rate: enough for words.
SAMPLES = SAMPLE_RATE = 8000
FRAME, HOP = SAMPLE_RATE // 40, SAMPLE_RATE // 100  # 25 ms, every 10 ms
FRAMES = (SAMPLES - FRAME) // HOP + 1
MEL_BANDS = 40
BATCH = 64

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


def resample(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """The same sound at another rate, by cutting or padding its spectrum."""
    count = max(1, round(len(audio) * new_rate / rate))
    spectrum = np.fft.rfft(audio)[: count // 2 + 1]
    return np.fft.irfft(spectrum, count) * (count / len(audio))


def read_wav(path: pathlib.Path) -> np.ndarray:
    """The middle second of a WAV file of any rate, length and channels."""
    try:
        with wave.open(str(path)) as file:
            channels, width, rate, *_ = file.getparams()
            content = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        reason = str(error) or "it ends too early"
        raise UsageError(f"Cannot read {path} as WAV: {reason}.") from error
    if width != 2:
        raise UsageError(f"{path} is {8 * width}-bit audio, not 16-bit.")
    content = content[: len(content) // (2 * channels) * 2 * channels]
    if not content or not rate:
        raise UsageError(f"{path} has no audio in it.")
    audio = np.frombuffer(content, "<i2").reshape(-1, channels).mean(axis=1)
    audio = resample(audio / 2**15, rate, SAMPLE_RATE)
    audio = np.pad(audio, SAMPLES // 2)
    start = (len(audio) - SAMPLES) // 2
    audio = audio[start : start + SAMPLES]
    return audio.astype("float32")


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


# 2. Features: log-mel, computed by tf.signal in a tf.data pipeline.


def log_mel(audio: tf.Tensor) -> tf.Tensor:
    """(b, samples) -> (b, frames, mel bands)."""
    spectrum = tf.abs(tf.signal.stft(audio, FRAME, HOP, 256)) ** 2
    mel = tf.signal.linear_to_mel_weight_matrix(
        MEL_BANDS, spectrum.shape[-1], SAMPLE_RATE, 20, SAMPLE_RATE / 2
    )
    log = tf.math.log(tf.matmul(spectrum, mel) + 1e-8)
    # The upper 52 dB, and each band relative to its own loudest frame: the
    # gain and the color of the microphone do not matter.
    log = tf.maximum(log, tf.reduce_max(log, [1, 2], keepdims=True) - 12)
    return (log - tf.reduce_max(log, 1, keepdims=True)) / 6


def augmented_log_mel(audio: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """What others would have recorded; another seed for every batch."""
    seeds = iter(tf.unstack(tf.random.split(seed, 8)))

    def uniform(low, high):
        shape = (tf.shape(audio)[0], 1)
        return tf.random.stateless_uniform(shape, next(seeds), low, high)

    # Played faster, a voice is higher and its vocal tract shorter.
    speed, shift = tf.exp(uniform(-0.2, 0.2)), uniform(-0.1, 0.1)
    at = (tf.range(SAMPLES, dtype=tf.float32) / SAMPLES - 0.5) * speed
    at = tf.clip_by_value((at + 0.5 + shift) * SAMPLES, 0, SAMPLES - 2)
    before = tf.cast(at, tf.int32)
    left = tf.gather(audio, before, batch_dims=1)
    right = tf.gather(audio, before + 1, batch_dims=1)
    audio = left + (at - tf.floor(at)) * (right - left)

    loudness = tf.sqrt(tf.reduce_mean(audio**2, 1, keepdims=True))
    noise = tf.random.stateless_normal(tf.shape(audio), next(seeds))
    features = log_mel(audio + noise * loudness * 10 ** -uniform(0.25, 2))

    # SpecAugment: nothing may hang on one moment or on one band.
    average = tf.reduce_mean(features, [1, 2], keepdims=True)
    for axis, size, widest in ((1, FRAMES, 10), (2, MEL_BANDS, 8)):
        width = uniform(0, widest)
        start = uniform(0, 1) * (size - width)
        index = tf.range(size, dtype=tf.float32)
        masked = (index >= start) & (index < start + width)
        masked = tf.expand_dims(masked, 3 - axis)
        features = tf.where(masked, average, features)
    return features


def features_of(audio: np.ndarray) -> np.ndarray:
    """What the device will see: float32 of (n, frames, mel bands)."""
    dataset = tf.data.Dataset.from_tensor_slices(audio).batch(256).map(log_mel)
    return np.concatenate([*dataset.as_numpy_iterator()])


# 3. Model, and its training with XLA.


def build_model(labels: int) -> keras.Model:
    """A DS-CNN over time, with the mel bands as channels."""
    inputs = outputs = keras.Input((FRAMES, MEL_BANDS), name="log_mel")
    for strides in (2, 1, 2, 1):
        outputs = tfconv.SeparableConv1D(
            96, 9, strides=strides, padding="same", use_bias=False
        )(outputs)
        # A short training has too few steps for the default momentum.
        outputs = keras.layers.BatchNormalization(momentum=0.9)(outputs)
        outputs = keras.layers.ReLU()(outputs)
    outputs = keras.layers.GlobalAveragePooling1D()(outputs)
    outputs = keras.layers.Dropout(0.3)(outputs)
    outputs = keras.layers.Dense(labels, name="logits")(outputs)
    return keras.Model(inputs, outputs, name="ds_cnn")


def train(model: keras.Model, audio: np.ndarray, labels: np.ndarray) -> None:
    """Trains the model in place, on another augmentation in every epoch."""
    targets = np.eye(model.output_shape[-1], dtype="float32")[labels]
    dataset = tf.data.Dataset.from_tensor_slices((audio, targets))
    dataset = dataset.shuffle(len(audio), _SEED.value).repeat()
    # A shorter last batch would be another shape, for XLA to compile again.
    dataset = dataset.batch(BATCH, drop_remainder=True)
    seeds = tf.data.Dataset.random(_SEED.value).batch(2)
    dataset = tf.data.Dataset.zip(dataset, seeds).map(
        lambda batch, seed: (augmented_log_mel(batch[0], seed), batch[1]),
        num_parallel_calls=tf.data.AUTOTUNE,
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

    model = build_model(len(words))
    train(model, audio[~test], labels[~test])
    trained = output_dir / "model.keras"
    model.save(trained)
    shuffled = np.random.default_rng(seed).permutation(audio[~test])
    features = features_of(audio[test])
    # What tfconv-export needs, to be tried on this model.
    representative = output_dir / "representative.npy"
    np.save(representative, features_of(shuffled[:200]))
    np.savez(output_dir / "evaluation.npz", x=features, y=labels[test])
    (output_dir / "words.txt").write_text("".join(f"{w}\n" for w in words))
    for name, quantize in (("float32", "none"), ("int8", "int8")):
        tfconv_export.export(
            trained,
            output_dir / f"{name}.tflite",
            quantize=quantize,
            representative_data=representative,
            overwrite=True,
        )

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
