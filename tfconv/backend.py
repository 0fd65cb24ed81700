"""Refuses to be imported on another backend of Keras than TensorFlow.

The layers would be built all the same, and fail when they are trained.
"""

import os
import sys


def _check(backend: str) -> None:
    if backend != "tensorflow":
        raise ImportError(
            f"tfconv runs on TensorFlow, but Keras is to use {backend}. Set "
            "the environment variable KERAS_BACKEND=tensorflow before keras "
            "is imported."
        )


# Before Keras is imported, which needs what may not be installed.
if "keras" not in sys.modules:
    _check(os.environ.get("KERAS_BACKEND") or "tensorflow")

import keras  # noqa: E402

_check(keras.backend.backend())
