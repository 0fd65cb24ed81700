"""Does the file compute what was trained? Runs both; never prints."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfconv_export import agreement
from tfconv_export.calibration import Examples
from tfconv_export.calibration import spread
from tfconv_export.conversion import Recipe
from tfconv_export.progress import Progress
from tfconv_export.progress import silent
from tfconv_export.reference import Reference
from tfconv_export.result import Agreement
from tfconv_export.result import Scatter
from tfconv_export.runtimes import Runtime

Outputs = dict[str, np.ndarray]

# That are compared, of the representative and of the evaluation data.
MAX_EXAMPLES = 200

# Reference kernels take 20 to 100 times as long.
_MAX_SLOW_EXAMPLES = 32

# Of a scatter plot.
_MAX_POINTS = 500


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Findings of running the file beside the trained model.

    Attributes:
        agreements: one for each runtime and output.
        scatters: likewise.
        computed: what each runtime computed, by its name.
        warnings: sentences on outputs of which the examples show too little.
    """

    agreements: tuple[Agreement, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    computed: dict[str, list[Outputs]] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def compare(
    runtimes: Sequence[Runtime],
    reference: Reference,
    examples: Examples,
    progress: Progress = silent,
    quantize: str = "none",
) -> Comparison:
    """Runs the file beside the trained model.

    Args:
        runtimes: the file, on each interpreter.
        reference: the model.
        examples: what to run them on; at most 200, evenly spread, are used,
            of which the runtimes that are slow run 32.
        progress: called with what was done.
        quantize: string, the mode of the file; see `conversion.Recipe`.
    """
    examples = examples.sample(MAX_EXAMPLES)
    few = spread(len(examples), _MAX_SLOW_EXAMPLES).tolist()
    expected = []
    computed = {runtime.name: [] for runtime in runtimes}
    for index, example in enumerate(examples):
        expected.append(reference(example))
        for runtime in runtimes:
            if not runtime.is_slow or index in few:
                computed[runtime.name].append(runtime.run(example))
        progress("comparing", index + 1, len(examples))
    agreements, scatters = [], []
    for runtime in runtimes:
        found = computed[runtime.name]
        wanted = expected
        if runtime.is_slow:
            wanted = [expected[index] for index in few]
        agreements += measure(runtime, reference, wanted, found, quantize)
        scatters += [
            _scatter(runtime.name, output, *stacked(output, wanted, found))
            for output in wanted[0]
        ]
    warnings = [
        warning
        for output, bounds in reference.bounds.items()
        # Other modes take no ranges from the data.
        if Recipe(quantize).is_integer
        for warning in agreement.warn_of_little_variation(
            output, *stacked(output, expected), bounds, quantize
        )
    ]
    return Comparison(
        agreements=tuple(agreements),
        scatters=tuple(scatters),
        computed=computed,
        warnings=tuple(warnings),
    )


def measure(
    runtime: Runtime,
    reference: Reference,
    expected: Sequence[Outputs],
    found: Sequence[Outputs],
    quantize: str,
    data: str = "representative",
) -> list[Agreement]:
    """How close every output comes.

    Args:
        runtime: the file.
        reference: the model.
        expected: the model's outputs, for each example.
        found: the runtime's, for the same ones.
        quantize: string, the mode of the file.
        data: string, which data the examples are of.
    """
    return [
        agreement.measure(
            runtime.name,
            output,
            *stacked(output, expected, found),
            step=runtime.step(output),
            bounds=reference.bounds[output],
            quantize=quantize,
            data=data,
        )
        for output in expected[0]
    ]


def stacked(output: str, *several: Sequence[Outputs]) -> list[np.ndarray]:
    """One output of each, the first axis counting the examples."""
    return [np.stack([outputs[output] for outputs in x]) for x in several]


def slow_sample(examples: Examples) -> Examples:
    """Those examples that the runtimes that are slow run in `compare`."""
    return examples.sample(MAX_EXAMPLES).sample(_MAX_SLOW_EXAMPLES)


def _scatter(
    runtime: str, output: str, expected: np.ndarray, found: np.ndarray
) -> Scatter:
    expected, found = expected.ravel(), found.ravel()
    chosen = np.random.default_rng(0).permutation(expected.size)[:_MAX_POINTS]
    return Scatter(
        runtime=runtime,
        output=output,
        expected=tuple(expected[chosen].astype(float).tolist()),
        found=tuple(found[chosen].astype(float).tolist()),
    )
