"""Inputs of models, and what the readers make of data for them."""

import numpy as np
import tensorflow as tf

from tfconv_export import calibration
from tfconv_export.data import sources
from tfconv_export.source import Input

AUDIO = (Input("audio", (6, 3), tf.float32),)
TWO = (
    Input("audio", (6, 3), tf.float32),
    Input("extra", (2,), tf.int32),
)
COUNT = 12
X = np.random.default_rng(0).standard_normal((COUNT, 6, 3)).astype("f4")
EXTRA = np.arange(2 * COUNT, dtype=np.int64).reshape(COUNT, 2)
Y = np.random.default_rng(1).integers(0, 5, COUNT)


def choose(source, inputs=AUDIO, *, count=1000, seed=0, **options):
    """Opens the data, and chooses examples of it."""
    chosen = {
        name: options.pop(name)
        for name in ("mean", "stddev", "progress")
        if name in options
    }
    reader = sources.open_data(source, **options)
    return calibration.choose(reader, inputs, count=count, seed=seed, **chosen)


def stacked(examples, name="audio") -> np.ndarray:
    """All of them as one array of shape `(n, *shape)`."""
    return np.concatenate([example[name] for example in examples])


def write_records(path, compression="", **features) -> None:
    """Writes a TFRecord file; bytes of arrays other than float32 and int64."""
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for values in zip(*features.values(), strict=True):
            named = {
                name: _feature(np.asarray(value))
                for name, value in zip(features, values, strict=True)
            }
            example = tf.train.Example(
                features=tf.train.Features(feature=named)
            )
            writer.write(example.SerializeToString())


def _feature(value: np.ndarray) -> tf.train.Feature:
    if value.dtype == np.float32:
        return tf.train.Feature(
            float_list=tf.train.FloatList(value=value.ravel())
        )
    if value.dtype == np.int64:
        return tf.train.Feature(
            int64_list=tf.train.Int64List(value=value.ravel())
        )
    return tf.train.Feature(
        bytes_list=tf.train.BytesList(value=[value.tobytes()])
    )
