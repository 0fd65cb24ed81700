"""Arrays as the examples that the exporter's parts take."""

import numpy as np

from tfconv_export.calibration import Examples


def examples_of(**arrays: np.ndarray) -> Examples:
    """Examples of these inputs, the first axis counting them."""

    def read(indices):
        for index in indices:
            yield (
                int(index),
                {name: array[index][None] for name, array in arrays.items()},
                None,
            )

    count = len(next(iter(arrays.values())))
    return Examples("the test", np.arange(count), (), (), read)
