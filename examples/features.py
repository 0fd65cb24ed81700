"""Log-mel features of a live signal, frame by frame.

Training and examples/live.py take them from here: the numbers are the same
whether a recording comes at once or in pieces.
"""

import numpy as np

SAMPLE_RATE = 8000  # Hz: enough for words
FRAME, HOP = SAMPLE_RATE // 40, SAMPLE_RATE // 100  # 25 ms, every 10 ms
BANDS = 40
WINDOW = (SAMPLE_RATE - FRAME) // HOP + 1  # frames of one second
SPECTRUM = 256

MEMORY = 15  # frames of the running average
DEPTH, FADING = 7, 0.02  # in nats: 30 dB are heard; 9 dB fade in a second


def mel_filters() -> np.ndarray:
    """Triangles evenly spaced in mel: float32 of (frequencies, bands)."""

    def mel(hertz):
        return 1127 * np.log(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(20), mel(SAMPLE_RATE / 2), BANDS + 2)
    at = mel(np.fft.rfftfreq(SPECTRUM, 1 / SAMPLE_RATE))[:, np.newaxis]
    rising = (at - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - at) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype("float32")


class Features:
    """Log-mel frames, less a running average of each band.

    The gain and the color of a microphone do not matter then, as with the mean
    or the maximum of a whole recording, which nobody knows while it goes on.
    (Filters of log spectra over time: H. Hermansky and N. Morgan, "RASTA
    processing of speech", 1994.)
    """

    filters = mel_filters()
    taper = np.hanning(FRAME + 1)[:-1].astype("float32")

    def __init__(self):
        self.waiting = None
        self.average = None
        self.loudest = None

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """Takes the next samples: (..., n) -> float32 (..., frames, bands).

        Samples that make no whole frame wait for the next call.
        """
        if self.waiting is not None:
            samples = np.concatenate([self.waiting, samples], axis=-1)
        count = max(0, (samples.shape[-1] - FRAME) // HOP + 1)
        self.waiting = samples[..., count * HOP :]
        frames = np.empty((*samples.shape[:-1], count, BANDS), "float32")
        # One after the other: a product of other shape would round otherwise.
        for number in range(count):
            frame = samples[..., number * HOP : number * HOP + FRAME]
            power = np.abs(np.fft.rfft(frame * self.taper, SPECTRUM)) ** 2
            log = np.log(power @ self.filters + 1e-8)
            frames[..., number, :] = self.normalized(log)
        return frames

    def normalized(self, log: np.ndarray) -> np.ndarray:
        """One frame, (..., bands)."""
        loudest = log.max(axis=-1, keepdims=True)
        if self.loudest is not None:
            loudest = np.maximum(loudest, self.loudest - FADING)
        self.loudest, floor = loudest, loudest - DEPTH
        log = np.maximum(log, floor)
        if self.average is None:
            self.average = log
        average = self.average + (log - self.average) / MEMORY
        self.average = np.maximum(average, floor)
        return (log - self.average) / 4
