"""Layers of Keras that have no more weights than their file can hold."""

import contextlib
import inspect
import pathlib
from collections.abc import Iterator

from tfconv_export import bounded

_BYTES = 4  # of a weight in float32


@contextlib.contextmanager
def bounded_weights(layer_class: type, path: pathlib.Path) -> Iterator[None]:
    """Has layers refuse, for a while, to make more weights than a file holds.

    A config may ask for any number of them, and Keras makes them before it
    looks for them in the file.

    Args:
        layer_class: the base class of all layers: Keras's, or tf-keras's.
        path: of the file from which the layers are made.

    Raises:
        ValueError: if there are more, wherever the layers are made.
    """
    size = path.stat().st_size
    most = bounded.most_unpacked(size)
    add_weight = layer_class.add_weight
    signature = inspect.signature(add_weight)
    total = 0

    def bounded_add_weight(*args, **kwargs):
        nonlocal total
        shape = signature.bind(*args, **kwargs).arguments.get("shape") or ()
        sizes = [shape] if isinstance(shape, int) else [*shape]
        if all(isinstance(item, int) for item in sizes):
            total += bounded.product([_BYTES, *sizes], most)
        if total > most:
            raise ValueError(
                f"its layers would take more than {most:,} bytes of memory, "
                f"and the file has {size:,} bytes; save the model again"
            )
        return add_weight(*args, **kwargs)

    layer_class.add_weight = bounded_add_weight
    try:
        yield
    finally:
        layer_class.add_weight = add_weight
