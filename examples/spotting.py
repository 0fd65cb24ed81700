"""Words in a signal, from the classes' probabilities hop by hop."""

import collections
import pathlib
from typing import NamedTuple

import numpy as np
from features import HOP
from features import SAMPLE_RATE
from features import WINDOW

from tfconv_export import UsageError

SMOOTHING = 5  # hops


class Word(NamedTuple):
    """A word in a recording: where, in seconds, and how likely."""

    start: float
    end: float
    word: str
    probability: float = 1.0

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


class Score(NamedTuple):
    """What became of the words that were said, and what was spotted besides."""

    found: int
    wrong: int
    missed: int
    false_alarms: int


class Spotter:
    """Words from the classes' probabilities, hop by hop.

    They are smoothed, and a word is what is likeliest at the peak of each
    stretch in which one is above the threshold.
    """

    def __init__(self, labels: list[str], threshold: float):
        self.labels, self.threshold = labels, threshold
        # Classes such as _nothing_ are none to be reported.
        self.is_word = np.array([label[:1] != "_" for label in labels])
        self.recent = collections.deque(maxlen=SMOOTHING)
        self.peak = None

    def hear(self, probabilities: np.ndarray, end: float) -> Word | None:
        """Takes those of the window that ends there, in seconds.

        Returns:
            The word that is over with it, if any, with the window around it.
        """
        self.recent.append((end, np.where(self.is_word, probabilities, 0)))
        ends, recent = zip(*self.recent, strict=True)
        smoothed, end = np.mean(recent, axis=0), float(np.mean(ends))
        likeliest = int(smoothed.argmax())
        probability = float(smoothed[likeliest])
        if probability < self.threshold:
            over, self.peak = self.peak, None
            return over
        if self.peak is None or probability > self.peak.probability:
            start = end - WINDOW * HOP / SAMPLE_RATE
            self.peak = Word(start, end, self.labels[likeliest], probability)
        return None


def compare(spotted: list[Word], said: list[Word]) -> Score:
    """Which words were spotted, by where the middles of windows lie.

    A word that is spotted belongs to the word in which the middle of its
    window lies, or that is nearest and not farther than a quarter of a second.
    """
    heard = [[] for _ in said]
    false_alarms = 0
    for word in spotted:
        away = [
            max(0.0, other.start - word.middle, word.middle - other.end)
            for other in said
        ]
        nearest = int(np.argmin(away)) if said else 0
        if said and away[nearest] <= 0.25:
            heard[nearest].append(word.word)
        else:
            false_alarms += 1
    found = sum(
        other.word in words for words, other in zip(heard, said, strict=True)
    )
    missed = sum(not words for words in heard)
    # What is heard in a word besides, or twice, is too much, too.
    false_alarms += sum(max(0, len(words) - 1) for words in heard)
    return Score(found, len(said) - found - missed, missed, false_alarms)


def read_words(path: pathlib.Path) -> list[Word]:
    """Reads lines of start, end (both in seconds) and word, as of Audacity."""
    try:
        lines = path.read_text("utf-8").splitlines()
        split = [line.split(maxsplit=2) for line in lines if line.strip()]
        return [Word(float(a), float(b), word) for a, b, word in split]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Cannot read {path} as lines of start, end and word: {error}."
        ) from error


def write_words(path: pathlib.Path, words: list[Word]) -> None:
    """Writes them as `read_words` reads them."""
    lines = [
        f"{word.start:.2f}\t{word.end:.2f}\t{word.word}\n" for word in words
    ]
    path.write_text("".join(lines), "utf-8")
