"""The picture of examples/live.py: features, and probabilities over time."""

import pathlib

import numpy as np
from features import HOP
from features import SAMPLE_RATE
from features import WINDOW
from spotting import Word

from tfconv_export import UsageError

GREY, INK = "#6b7480", "#22272e"
# Of the palette of Okabe and Ito, made for every kind of colour blindness,
# and four more.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
COLORS += ("#8c564b", "#7f3c8d", "#3d8f3d", "#b5446e")
STYLE = {
    "font.size": 9,
    "axes.edgecolor": "#b8c0c8",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "ytick.major.size": 0,
}


def require_matplotlib() -> None:
    """Says early that nothing can be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--plot needs matplotlib: pip install 'tfconv[report]'."
        ) from error


def draw(
    path: pathlib.Path,
    frames: np.ndarray,
    probabilities: np.ndarray,
    labels: list[str],
    words: list[Word],
    truth: list[Word],
    seconds: float,
) -> None:
    """Writes a PNG, 1440 pixels wide.

    Args:
        path: of it.
        frames: the features, (frames, bands).
        probabilities: (hops, classes), NaN before the first whole window.
        labels: names of the classes.
        words: the words that were spotted.
        truth: the words that were said, if that is known.
        seconds: how much is shown, from the beginning.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    length = len(frames) * HOP / SAMPLE_RATE
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(9, 4), layout="constrained")
        upper, lower = figure.subplots(
            2, 1, sharex=True, height_ratios=(1, 1.25)
        )
        upper.imshow(
            frames.T,
            aspect="auto",
            origin="lower",
            extent=(0, length, 0, frames.shape[1]),
            vmin=np.percentile(frames, 1),
            vmax=np.percentile(frames, 99.5),
            cmap="magma",
        )
        upper.set_ylabel("mel band")
        upper.tick_params(axis="x", length=0)
        _draw_probabilities(lower, probabilities, labels, length)
        _name_words(lower, words, labels, seconds)
        for word in truth:
            if word.middle < min(seconds, length):
                lower.axvspan(
                    word.start, word.end, color="#eef1f4", linewidth=0, zorder=0
                )
                upper.annotate(
                    word.word,
                    (word.middle, 1),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=GREY,
                )
        lower.set_xlim(0, min(seconds, length))
        figure.savefig(path, format="png", dpi=160)


def _draw_probabilities(axes, probabilities, labels, length) -> None:
    """Each at the middle of its window: there is what it speaks of."""
    hop = round(length * SAMPLE_RATE / HOP) / len(probabilities)
    ends = (np.arange(len(probabilities)) + 1) * round(hop)
    times = (ends - WINDOW / 2) * HOP / SAMPLE_RATE
    for index, label in enumerate(labels):
        is_word = label[:1] != "_"
        axes.plot(
            times,
            probabilities[:, index],
            color=_color(index) if is_word else "#c4ccd4",
            linewidth=1.4 if is_word else 1,
            zorder=2 if is_word else 1,
        )
    axes.set_ylim(0, 1.22)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_ylabel("probability")
    axes.set_xlabel("seconds")


def _name_words(axes, words, labels, seconds) -> None:
    for word in words:
        if word.middle < seconds:
            axes.annotate(
                word.word,
                (word.middle, 1.04),
                ha="center",
                fontsize=8,
                fontweight="bold",
                color=_color(labels.index(word.word)),
            )


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]
