"""Words in a long recording, or at the microphone, while they are spoken.

`python examples/quickstart.py` leaves what it needs, and a recording:

  python examples/live.py --wav=quickstart_output/long.wav \\
      --truth=quickstart_output/long.txt --plot=live.png

Without --wav it listens to the microphone until Ctrl-C, which needs `pip
install sounddevice`.

Exit status: 0 done; 1 --check found a difference; 2 it cannot be done.
"""

import os
import pathlib
import sys
import time
from collections.abc import Iterator

# TensorFlow reads it when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import live_plot
import numpy as np
import rich.console
import rich.live
import rich.text
import spotting
import wav_files
from absl import app
from absl import flags
from features import HOP
from features import SAMPLE_RATE
from features import WINDOW
from features import Features

import tfconv_export
from tfconv_export import CheckError
from tfconv_export import UsageError
from tfconv_export.runtimes import LiteRT

_MODEL = flags.DEFINE_string(
    "model", "quickstart_output/stream.tflite", "The streaming file."
)
_LABELS = flags.DEFINE_string(
    "labels", "quickstart_output/words.txt", "Its classes, one a line."
)
_WAV = flags.DEFINE_string("wav", None, "A recording. Default: microphone.")
_TRUTH = flags.DEFINE_string(
    "truth", None, "What is said in it: lines of start, end (s) and word."
)
_PLOT = flags.DEFINE_string("plot", None, "PNG to draw.")
_PLOT_SECONDS = flags.DEFINE_float(
    "plot_seconds",
    20,
    "How much of the sound is drawn: of a recording, its "
    "beginning in the PNG and its end on the terminal.",
    1,
)
_CHECK = flags.DEFINE_string(
    "check", None, "The file for whole windows, to compare every output with."
)
_THRESHOLD = flags.DEFINE_float(
    "threshold", 0.5, "The probability from which on a word is one.", 0, 1
)

# Of the lines on the terminal: how high, and how many characters.
_LEVELS = " ▁▂▃▄▅▆▇█"
_COLUMNS = 60


def read_labels(path: pathlib.Path) -> list[str]:
    """One name a line."""
    try:
        return path.read_text("utf-8").split()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"Cannot read {path}: {error}.") from error


def recorded(path: pathlib.Path, count: int) -> Iterator[np.ndarray]:
    """A WAV file in pieces of so many samples, as a microphone gives them."""
    audio = wav_files.read(path, SAMPLE_RATE)
    for start in range(0, len(audio), count):
        yield audio[start : start + count]


def microphone(count: int) -> Iterator[np.ndarray]:
    """Pieces of so many samples, as they come, until Ctrl-C."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise UsageError(
            f"The microphone cannot be used ({error}): pip install "
            "sounddevice, on Linux also libportaudio2 by the system's "
            "packages, or give a recording with --wav."
        ) from error
    try:
        with sounddevice.InputStream(
            samplerate=SAMPLE_RATE, channels=1, dtype="float32"
        ) as stream:
            while True:
                yield stream.read(count)[0][:, 0]
    except KeyboardInterrupt:
        return
    except sounddevice.PortAudioError as error:
        raise UsageError(
            f"The microphone cannot be used ({error}); give a recording with "
            "--wav."
        ) from error


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of the classes, (..., classes)."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


class Listener:
    """The features, the streaming file and the spotter, one after the other.

    `frames`, `outputs` and `words` are what came of the signal so far, and
    `seconds` is how long each piece took.
    """

    def __init__(self, model: str, labels: list[str], threshold: float):
        self.interpreter = tfconv_export.StreamingInterpreter(model)
        self.features = Features()
        self.spotter = spotting.Spotter(labels, threshold)
        self.frames, self.outputs, self.seconds = [], [], []
        self.words, self.labels = [], labels
        self.hop = self.interpreter.hop * HOP

    def hear(self, samples: np.ndarray) -> list[spotting.Word]:
        """Takes the next samples; words that were over in them."""
        start = time.perf_counter()
        frames = self.features.feed(samples)
        outputs = self.interpreter.feed(frames)
        self.seconds.append(time.perf_counter() - start)
        if outputs.shape[1:] != (len(self.labels),):
            raise UsageError(
                f"--labels has {len(self.labels)} names; the model's output "
                f"has the shape {outputs.shape[1:]}."
            )
        found = []
        self.frames.extend(frames)
        for output in outputs:
            self.outputs.append(output)
            hops = len(self.outputs)
            # Earlier outputs look at frames from before the beginning.
            if hops * self.interpreter.hop >= WINDOW:
                end = hops * self.hop / SAMPLE_RATE
                found.append(self.spotter.hear(softmax(output), end))
        found = [word for word in found if word is not None]
        self.words += found
        return found

    def ends(self) -> np.ndarray:
        """Where the window of each output ends, in frames."""
        return self.interpreter.hop * np.arange(1, len(self.outputs) + 1)


def check(listener: Listener, path: pathlib.Path) -> None:
    """Runs the file for whole windows on each of them, with one's kernels."""
    try:
        runtime = LiteRT(path.read_bytes())
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"Cannot run --check={path}: {reason}.") from error
    (name,), differ, count = runtime.inputs, 0, 0
    shape = tuple(runtime.inputs[name]["shape"][1:])
    frames = np.array(listener.frames)
    if shape != (WINDOW, *frames.shape[1:]):
        raise UsageError(
            f"--check={path} takes {shape}; whole windows are "
            f"{(WINDOW, *frames.shape[1:])}."
        )
    for output, end in zip(listener.outputs, listener.ends(), strict=True):
        if end >= WINDOW:
            window = frames[np.newaxis, end - WINDOW : end]
            (whole,) = runtime.run({name: window}).values()
            differ += np.sum(whole[0] != output)
            count += output.size
    print(f"{differ} of {count:,} outputs differ from {path}")
    if differ or not count:
        raise CheckError(f"{differ} of {count:,} outputs differ from {path}.")


def chart(listener: Listener, seconds: float) -> rich.text.Text:
    """The classes' probabilities over the last seconds: now, and as lines."""
    hops = max(1, round(seconds * SAMPLE_RATE / listener.hop))
    # Before the first whole window there are none to be shown.
    first = -(-WINDOW // listener.interpreter.hop) - 1
    recent = np.array(
        listener.outputs[max(first, len(listener.outputs) - hops) :]
    )
    text = rich.text.Text()
    if not len(recent):
        return text
    probabilities = softmax(recent)
    columns = np.array_split(probabilities, min(_COLUMNS, len(recent)))
    peaks = np.array([column.max(axis=0) for column in columns])
    for index, label in enumerate(listener.labels):
        text.append(f"{label:>12} {probabilities[-1, index]:4.0%} ")
        levels = np.rint(peaks[:, index] * (len(_LEVELS) - 1)).astype(int)
        text.append("".join(_LEVELS[level] for level in levels) + "\n", "cyan")
    return text


def listen(listener: Listener, pieces: Iterator[np.ndarray]) -> None:
    """Prints words when they are over and, at a terminal, probabilities."""
    console = rich.console.Console(highlight=False)
    is_live = console.is_terminal and _WAV.value is None
    with rich.live.Live(console=console, auto_refresh=False) as live:
        for samples in pieces:
            for word in listener.hear(samples):
                console.print(
                    f"{word.middle:8.2f} s  {word.word}  "
                    f"({word.probability:.0%})"
                )
            if is_live and listener.outputs:
                live.update(chart(listener, _PLOT_SECONDS.value), refresh=True)
    if _WAV.value:
        console.print(chart(listener, _PLOT_SECONDS.value), end="")


def report(listener: Listener, truth: list[spotting.Word]) -> None:
    """What came of it."""
    length = listener.hop / SAMPLE_RATE
    mean = np.mean(listener.seconds)
    print(
        f"Features and network took {1e3 * mean:.2f} ms for every "
        f"{1e3 * length:.0f} ms of sound: {length / mean:.0f} times as fast "
        "as it comes."
    )
    if truth:
        score = spotting.compare(listener.words, truth)
        print(
            f"Of {len(truth)} words {score.found} were found, {score.wrong} "
            f"taken for another, {score.missed} missed; {score.false_alarms} "
            "false alarms where none was said."
        )


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise UsageError(f"Unexpected argument: {argv[1]}.")
    if _PLOT.value:
        live_plot.require_matplotlib()
    labels = read_labels(pathlib.Path(_LABELS.value))
    truth = []
    if _TRUTH.value:
        truth = spotting.read_words(pathlib.Path(_TRUTH.value))
    listener = Listener(_MODEL.value, labels, _THRESHOLD.value)
    if _WAV.value:
        pieces = recorded(pathlib.Path(_WAV.value), listener.hop)
    else:
        pieces = microphone(listener.hop)
    listen(listener, pieces)
    if not listener.outputs:
        raise UsageError("The sound is too short for a single hop.")
    report(listener, truth)
    if _PLOT.value:
        probabilities = softmax(np.array(listener.outputs))
        live_plot.draw(
            pathlib.Path(_PLOT.value),
            np.array(listener.frames),
            np.where(
                listener.ends()[:, np.newaxis] < WINDOW, np.nan, probabilities
            ),
            labels,
            listener.words,
            truth,
            _PLOT_SECONDS.value,
        )
        print(f"{_PLOT.value} shows it.")
    if _CHECK.value:
        check(listener, pathlib.Path(_CHECK.value))


def run() -> None:
    """The program: parses `sys.argv`, and exits."""
    # `bazel run` starts in a folder of its own; paths are the caller's.
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    try:
        app.run(main)
    except (UsageError, CheckError, OSError) as error:
        print(f"live: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, CheckError) else 2)


if __name__ == "__main__":
    run()
