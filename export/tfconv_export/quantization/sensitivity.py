"""Which layers to leave in float, so that a file is as close as it must be."""

import dataclasses
import math
import re

from tfconv_export import comparison
from tfconv_export import conversion
from tfconv_export.calibration import Examples
from tfconv_export.conversion import Recipe
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.errors import reason
from tfconv_export.quantization import float_layers
from tfconv_export.reference import Reference
from tfconv_export.runtimes import LiteRT
from tfconv_export.source import Source

_MAX_EXAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Choice:
    """Layers to be left in float.

    Attributes:
        layers: tuple of strings, in the order of the file; empty if none has
            to be.
        recipe: the recipe, with these layers in `float_layers`.
        sqnr_db: float, of the output that is the farthest from the trained
            model's, with these layers in float.
        integer_sqnr_db: float, the same with none in float.
        sensitivities: dict from each layer to the SQNR with it alone in
            float, the most sensitive first.
    """

    layers: tuple[str, ...]
    recipe: Recipe
    sqnr_db: float
    integer_sqnr_db: float
    sensitivities: dict[str, float]


def choose_float_layers(
    source: Source,
    recipe: Recipe,
    examples: Examples,
    min_sqnr_db: float,
    *,
    max_examples: int = _MAX_EXAMPLES,
) -> Choice:
    """Chooses the layers without which an integer file is not close enough.

    What the converter cannot quantize is left in float, too.
    Each layer is tried alone in float. Then they are taken in, the one that
    helped most first, until the floor is reached; and those left out again
    without which it still is. The model is converted once: `n` layers take at
    most `3 * n + 2` runs of files on the examples.

    Args:
        source: one whose shape is fixed.
        recipe: an integer one; what it has in `float_layers` is kept.
        examples: the representative data, on which the file is measured, too.
        min_sqnr_db: float, what every output has to reach on LiteRT's
            XNNPACK and builtin kernels against the trained model, in decibels.
        max_examples: int, how many examples to measure on, evenly spread.

    Raises:
        UsageError: if the recipe is not an integer one.
        CheckError: if all layers in float do not reach it, or LiteRT does not
            run the file.
    """
    if not recipe.is_integer:
        raise UsageError(
            "--auto_float_layers is not possible with "
            f"--quantize={recipe.quantize}; use it with an integer mode, such "
            "as int8."
        )
    trial = _Trial(source, recipe, examples, max_examples)
    before = trial.sqnr_db(trial.fixed)
    if before >= min_sqnr_db:
        return trial.choice(trial.fixed, before, {})
    best = trial.sqnr_db(trial.layers)
    if best < min_sqnr_db:
        raise CheckError(
            f"--min_sqnr_db={min_sqnr_db:g} is out of reach: the file has "
            f"{before:.1f} dB, and {best:.1f} dB with all "
            f"{len(trial.layers)} layers in float; what is left is the "
            f"rounding of the {recipe.io_dtype} input and outputs; try "
            "--io_dtype=float32, or ask for less."
        )
    free = [layer for layer in trial.layers if layer not in trial.fixed]
    alone = {layer: trial.sqnr_db((*trial.fixed, layer)) for layer in free}
    alone = dict(sorted(alone.items(), key=lambda item: -item[1]))
    chosen = list(trial.fixed)
    for layer in alone:
        chosen.append(layer)
        if trial.sqnr_db(chosen) >= min_sqnr_db:
            break
    # Those that helped least are the first to be tried without.
    for layer in reversed(chosen[len(trial.fixed) : -1]):
        rest = [other for other in chosen if other != layer]
        if trial.sqnr_db(rest) >= min_sqnr_db:
            chosen = rest
    return trial.choice(chosen, before, alone)


class _Trial:
    """A model converted once, of which files with float layers are made.

    Attributes:
        layers: all layers of the file.
        fixed: those that the recipe has in float, and those that the converter
            cannot quantize.
    """

    def __init__(self, source, recipe, examples, max_examples):
        self._recipe = recipe
        self._converted = conversion.convert(
            source,
            dataclasses.replace(recipe, float_layers=()),
            examples,
        )
        self.layers = float_layers.layers_of(
            self._converted.float_content, self._converted.scopes
        )
        needed = float_layers.left_in_float(
            self._converted.content, self._converted.scopes
        ).union(float_layers.matching(recipe.float_layers, self.layers))
        self.fixed = tuple(layer for layer in self.layers if layer in needed)
        self._examples = examples.sample(max_examples)
        self._reference = Reference(source)
        self._expected = list(map(self._reference, self._examples))
        self._known = {}

    def sqnr_db(self, layers) -> float:
        """Of the worst output and kernels, with these layers in float."""
        key = frozenset(layers)
        if key not in self._known:
            self._known[key] = self._measure(layers)
        return self._known[key]

    def _measure(self, layers) -> float:
        content, _ = float_layers.keep_in_float(
            self._converted.content,
            self._converted.float_content,
            tuple(layers),
            self._converted.scopes,
        )
        try:
            return min(
                self._measure_on(LiteRT(content, kernels))
                for kernels in ("xnnpack", "builtin")
            )
        except (RuntimeError, ValueError) as error:
            raise CheckError(
                f"The file does not run on LiteRT: {reason(error)}."
            ) from error

    def _measure_on(self, runtime: LiteRT) -> float:
        found = [runtime.run(example) for example in self._examples]
        measured = comparison.measure(
            runtime,
            self._reference,
            self._expected,
            found,
            self._recipe.quantize,
        )
        ratios = [agreement.judged_db for agreement in measured]
        return -math.inf if any(map(math.isnan, ratios)) else min(ratios)

    def choice(self, layers, before: float, alone: dict) -> Choice:
        ordered = tuple(layer for layer in self.layers if layer in layers)
        return Choice(
            layers=ordered,
            recipe=dataclasses.replace(
                self._recipe,
                float_layers=tuple(f"^{re.escape(name)}$" for name in ordered),
            ),
            sqnr_db=self.sqnr_db(layers),
            integer_sqnr_db=before,
            sensitivities=alone,
        )
