"""Timelines, held to lists of what every frame of a window has seen."""

import hypothesis
from hypothesis import strategies as st

from tfconv.streaming import timeline
from tfconv.streaming.errors import CannotStream

# The newest input frame that a frame sees, and whether it sees padding.
PADDING = (-1, True)


def look(frames):
    return max(newest for newest, _ in frames), any(hit for _, hit in frames)


def slide(frames, span, strides, left):
    padded = [PADDING] * left + frames
    starts = range(0, len(padded) - span + 1, strides)
    return [look(padded[start : start + span]) for start in starts]


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=300, deadline=None, derandomize=True)
def test_a_timeline_knows_the_frames_delay_and_padding_of_a_window(data):
    window = data.draw(st.integers(6, 30))
    # A hop that all strides divide: where streams begin does not matter here.
    time = timeline.start(window, 2**4 if window >= 2**4 else 4)
    frames = [(index, False) for index in range(window)]
    for _ in range(data.draw(st.integers(1, 2 if window < 2**4 else 4))):
        kind = data.draw(st.sampled_from(["valid", "causal", "crop", "pad"]))
        if kind == "crop":
            left, right = (
                data.draw(st.integers(0, 2)),
                data.draw(st.integers(0, 2)),
            )
            hypothesis.assume(left + right < len(frames))
            time, _ = timeline.crop(time, left, right)
            frames = frames[left : len(frames) - right]
        elif kind == "pad":
            left = data.draw(st.integers(0, 2))
            time = timeline.pad(time, left)
            frames = [PADDING] * left + frames
        else:
            span, strides = (
                data.draw(st.integers(1, 5)),
                data.draw(st.integers(1, 2)),
            )
            left = span - 1 if kind == "causal" else 0
            hypothesis.assume(span <= len(frames) + left)
            time, _ = timeline.slide(time, span, strides, left)
            frames = slide(frames, span, strides, left)
    assert time.window == len(frames)
    seen_padding = [hit for _, hit in reversed(frames)]
    clean = seen_padding.index(True) if any(seen_padding) else len(frames)
    assert time.settled == clean
    newest, _ = frames[-1]
    if newest >= 0:
        assert time.delay == window - 1 - newest


def test_a_hop_brings_whole_outputs_or_says_which_hops_do():
    time, _ = timeline.slide(timeline.start(24, 6), 3, 2, 0)
    try:
        timeline.slide(time, 2, 2, 0)
    except CannotStream as error:
        assert "multiple of 4" in error.remedy
    else:
        raise AssertionError("3 frames per hop make 1.5 outputs")
