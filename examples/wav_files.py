"""WAV files of any rate and channels as sound of one rate, and back."""

import pathlib
import wave

import numpy as np

from tfconv_export import UsageError


def resample(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """The same sound at another rate, by cutting or padding its spectrum."""
    count = max(1, round(len(audio) * new_rate / rate))
    spectrum = np.fft.rfft(audio)[: count // 2 + 1]
    return np.fft.irfft(spectrum, count) * (count / len(audio))


def read(path: pathlib.Path, rate: int) -> np.ndarray:
    """A 16-bit WAV file as float32 of (samples,) in -1..1 at that rate."""
    try:
        with wave.open(str(path)) as file:
            channels, width, file_rate, *_ = file.getparams()
            content = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        reason = str(error) or "it ends too early"
        raise UsageError(f"Cannot read {path} as WAV: {reason}.") from error
    if width != 2:
        raise UsageError(f"{path} is {8 * width}-bit audio, not 16-bit.")
    content = content[: len(content) // (2 * channels) * 2 * channels]
    if not content or not file_rate:
        raise UsageError(f"{path} has no audio in it.")
    audio = np.frombuffer(content, "<i2").reshape(-1, channels).mean(axis=1)
    return resample(audio / 2**15, file_rate, rate).astype("float32")


def write(path: pathlib.Path, audio: np.ndarray, rate: int) -> None:
    """Writes (samples,) in -1..1 as a 16-bit WAV file; louder is cut off."""
    values = np.round(audio * 2**15).clip(-(2**15), 2**15 - 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(values.astype("<i2").tobytes())
