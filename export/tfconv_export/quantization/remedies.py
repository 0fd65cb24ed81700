"""What brings a quantized file closer to its model: tried, not guessed."""

import dataclasses
import math
import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from tfconv_export import comparison
from tfconv_export import conversion
from tfconv_export import targets
from tfconv_export.calibration import Examples
from tfconv_export.conversion import Conversion
from tfconv_export.conversion import Recipe
from tfconv_export.errors import CheckError
from tfconv_export.errors import UsageError
from tfconv_export.quantization import equalization
from tfconv_export.quantization import float_layers
from tfconv_export.reference import Reference
from tfconv_export.result import Agreement
from tfconv_export.result import LayerError
from tfconv_export.runtimes import LiteRT
from tfconv_export.source import Source

# Files that are as close as this are good; healthy ones have 25 dB and more.
GOOD_SQNR_DB = 20.0

_MAX_EXAMPLES = 64
_MAX_CALIBRATION_EXAMPLES = 200
_MAX_FLOAT_LAYERS = 3

# Half of the noise is gone. What brings less is not worth its cost.
_MIN_GAIN_DB = 3.0

# From a mode to the one with finer numbers for what is the coarsest in it.
_FINER = {"int8": "int16x8", "int4": "int8", "dynamic": "float16"}


@dataclasses.dataclass(frozen=True)
class Remedy:
    """Something that could be done.

    Attributes:
        words: string, flags, or what to do.
        sqnr_db: float, what the file then has.
    """

    words: str
    sqnr_db: float


@dataclasses.dataclass(frozen=True)
class Trial:
    """A file that is not close enough, and what others of its model are to be.

    Attributes:
        source: the trained model.
        recipe: what was made of it.
        converted: the file.
        examples: the representative data.
        evaluation: the evaluation data, or `None`.
        layers: how far quantization moved each operator.
        target: string, what is to run it.
        is_equalized: bool, whether its channels were evened out.
        is_stream: bool, whether it is to go frame by frame, too.
    """

    source: Source
    recipe: Recipe
    converted: Conversion
    examples: Examples
    evaluation: Examples | None
    layers: Sequence[LayerError]
    target: str
    is_equalized: bool = False
    is_stream: bool = False

    def remedies(self) -> tuple[tuple[Remedy, ...], tuple[str, ...]]:
        """Makes the other files, and measures them on LiteRT's builtin kernels.

        On 64 examples; each takes a conversion on at most 200, but those with
        layers in float, which take none.

        Returns:
            `(remedies, others)`: what helps, and the words for what does not.
        """
        reference = Reference(self.source)
        parts = {
            name: data.sample(_MAX_EXAMPLES)
            for name, data in (
                ("representative", self.examples),
                ("evaluation", self.evaluation),
            )
            if data is not None
        }
        expected = {
            name: list(map(reference, data)) for name, data in parts.items()
        }

        def measure(content: bytes, quantize: str) -> dict[str, float]:
            runtime = LiteRT(content, "builtin")
            return {
                name: _worst(
                    agreement.judged_db
                    for agreement in comparison.measure(
                        runtime,
                        reference,
                        expected[name],
                        list(map(runtime.run, data)),
                        quantize,
                    )
                )
                for name, data in parts.items()
            }

        before = measure(self.converted.content, self.recipe.quantize)
        found: dict[str, float] = {}
        for words, quantize, make in self._others(before):
            try:
                ratio = min(measure(make(), quantize).values())
            except (CheckError, UsageError, RuntimeError, ValueError):
                continue
            found[words] = ratio
        found = _with_fewest_in_float(found)
        floor = min(before.values()) + _MIN_GAIN_DB
        return (
            tuple(
                Remedy(words, ratio)
                for words, ratio in found.items()
                if ratio >= floor
            ),
            tuple(words for words, ratio in found.items() if ratio < floor),
        )

    def _others(
        self, before: dict[str, float]
    ) -> Iterator[tuple[str, str, Callable[[], bytes]]]:
        """The words, the mode and the making of each file to be tried."""
        recipe, mode = self.recipe, self.recipe.quantize
        few = self.examples.sample(_MAX_CALIBRATION_EXAMPLES)
        is_uncovered = (
            recipe.is_integer
            and "evaluation" in before
            and before["evaluation"] + _MIN_GAIN_DB < before["representative"]
        )
        if is_uncovered:
            yield (
                "representative data like the evaluation data",
                mode,
                lambda: self._convert(
                    recipe, self.evaluation.sample(_MAX_CALIBRATION_EXAMPLES)
                ),
            )
        if recipe.is_integer and not self.is_equalized:
            yield "--equalize", mode, lambda: self._equalized(few)
        if recipe.is_integer and not recipe.float_layers and not self.is_stream:
            chosen = self._layers_to_try()
            for count in range(1, len(chosen) + 1):
                yield (
                    " ".join(
                        f"--float_layers='^{re.escape(layer)}$'"
                        for layer in chosen[:count]
                    ),
                    mode,
                    lambda count=count: self._in_float(chosen[:count]),
                )
        finer = _FINER.get(mode)
        if finer is not None and finer in targets.TARGETS[self.target].modes:
            floats = recipe.float_layers if finer != "float16" else ()
            is_float = recipe.io_dtype == "float32"
            other = Recipe(finer, "float32" if is_float else None, floats)
            yield (
                f"--quantize={finer}",
                finer,
                lambda: self._convert(other, few),
            )

    def _convert(self, recipe: Recipe, examples: Examples) -> bytes:
        return conversion.convert(self.source, recipe, examples).content

    def _equalized(self, examples: Examples) -> bytes:
        source, changes = equalization.equalized(self.source, examples)
        if not changes:
            raise CheckError("There is nothing to even out.")
        return conversion.convert(source, self.recipe, examples).content

    def _layers_to_try(self) -> list[str]:
        """Those before which the signal is clean, and after which it is not."""
        known = float_layers.layers_of(
            self.converted.float_content, self.converted.scopes
        )
        drops: dict[str, float] = {}
        before = math.inf
        for error in self.layers:
            if error.layer in known:
                drop = min(before, 60.0) - error.sqnr_db
                drops[error.layer] = max(drops.get(error.layer, 0.0), drop)
            before = error.sqnr_db
        return sorted(drops, key=drops.get, reverse=True)[:_MAX_FLOAT_LAYERS]

    def _in_float(self, layers: Sequence[str]) -> bytes:
        content, _ = float_layers.keep_in_float(
            self.converted.content,
            self.converted.float_content,
            tuple(layers),
            self.converted.scopes,
        )
        return content


def _with_fewest_in_float(found: dict[str, float]) -> dict[str, float]:
    """Of the choices of layers, the first that is good; else the best."""
    choices = {
        words: ratio
        for words, ratio in found.items()
        if words.startswith("--float_layers")
    }
    good = [words for words in choices if choices[words] >= GOOD_SQNR_DB]
    kept = good[:1] or [max(choices, key=choices.get, default=None)]
    return {
        words: ratio
        for words, ratio in found.items()
        if words not in choices or words in kept
    }


def _worst(ratios) -> float:
    ratios = list(ratios)
    return -math.inf if any(map(math.isnan, ratios)) else min(ratios)


def warning(trial: Trial, lowest: Agreement) -> str:
    """The sentences that a file deserves which is not good.

    Args:
        trial: the file.
        lowest: the output that is the farthest from the model's.
    """
    worst = sorted(trial.layers, key=lambda layer: layer.sqnr_db)
    named = dict.fromkeys(
        f"{layer.layer or layer.tensor} ({layer.sqnr_db:.1f} dB)"
        for layer in worst
        if layer.operator != "INPUT"
    )
    text = (
        f"the output {lowest.output} has {lowest.judged_db:.1f} dB "
        f"on the {lowest.data} data, where healthy files have 25 and more"
    )
    if named:
        text += f"; the worst layers are {', '.join(list(named)[:3])}"
    helping, others = trial.remedies()
    if helping:
        listed = ", ".join(
            f"{x.words} gives {x.sqnr_db:.1f} dB" for x in helping
        )
        return f"{text}. Tried: {listed}."
    if others:
        return f"{text}. Tried, and no better: {', '.join(others)}."
    return f"{text}."
