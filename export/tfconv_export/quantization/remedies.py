"""Remedies that bring a quantized file closer to its model: all tried."""

import dataclasses
import math
import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from tfconv_export import comparison
from tfconv_export import conversion
from tfconv_export import flatbuffer
from tfconv_export import targets
from tfconv_export import verification
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
        layers in float, which take none. What the target would not run, or an
        export would refuse, is not among them.

        Returns:
            `(remedies, others)`: what helps, and the words for what does not.
        """
        meter = _Meter(self)
        before = meter.ratios(self.recipe, self.converted.content)
        found: dict[str, float] = {}
        for words, recipe, make in self._others(before):
            try:
                converted = make()
                if self._is_sound(recipe, converted):
                    ratios = meter.ratios(recipe, converted.content)
                    found[words] = min(ratios.values())
            except (CheckError, UsageError, RuntimeError, ValueError):
                continue
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

    def _is_sound(self, recipe: Recipe, converted: Conversion) -> bool:
        facts = flatbuffer.read(converted.content)
        checks = verification.inspect(facts, recipe, self.source, converted)
        _, others = targets.judge(self.target, converted.content, facts)
        return all(check.passed for check in (*checks, *others))

    def _others(
        self, before: dict[str, float]
    ) -> Iterator[tuple[str, Recipe, Callable[[], Conversion]]]:
        """The words, the recipe and the making of each file to be tried."""
        recipe = self.recipe
        few = self.examples.sample(_MAX_CALIBRATION_EXAMPLES)
        is_uncovered = "evaluation" in before and (
            before["evaluation"] + _MIN_GAIN_DB < before["representative"]
        )
        if recipe.is_integer and is_uncovered:
            other = self.evaluation.sample(_MAX_CALIBRATION_EXAMPLES)
            yield (
                "representative data like the evaluation data",
                recipe,
                lambda: conversion.convert(self.source, recipe, other),
            )
        if recipe.is_integer and not self.is_equalized:
            yield "--equalize", recipe, lambda: self._equalized(few)
        is_all_integer = recipe.is_integer and not recipe.float_layers
        if is_all_integer and self.converted.float_content is not None:
            layers = () if self.is_stream else self._layers_to_try()
            for count in range(1, len(layers) + 1):
                chosen = tuple(layers[:count])
                patterns = tuple(f"^{re.escape(layer)}$" for layer in chosen)
                yield (
                    " ".join(f"--float_layers='{x}'" for x in patterns),
                    dataclasses.replace(recipe, float_layers=patterns),
                    lambda chosen=chosen: self._in_float(chosen),
                )
        finer = _FINER.get(recipe.quantize)
        if finer is not None and finer in targets.TARGETS[self.target].modes:
            floats = recipe.float_layers if recipe.is_integer else ()
            is_float = recipe.io_dtype == "float32"
            finer_recipe = Recipe(
                finer, "float32" if is_float else None, floats
            )
            yield (
                f"--quantize={finer}",
                finer_recipe,
                lambda: conversion.convert(self.source, finer_recipe, few),
            )

    def _equalized(self, examples: Examples) -> Conversion:
        source, changes = equalization.equalized(self.source, examples)
        if not changes:
            raise CheckError("There is nothing to even out.")
        return conversion.convert(source, self.recipe, examples)

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

    def _in_float(self, layers: tuple[str, ...]) -> Conversion:
        content, names = float_layers.keep_in_float(
            self.converted.content,
            self.converted.float_content,
            layers,
            self.converted.scopes,
        )
        return dataclasses.replace(
            self.converted,
            content=content,
            float_layers=layers,
            float_tensors=names,
        )


class _Meter:
    """Runs files beside the trained model, on all data that there is."""

    def __init__(self, trial: Trial):
        self._reference = Reference(trial.source)
        given = {
            "representative": trial.examples,
            "evaluation": trial.evaluation,
        }
        self._data = {
            name: data.sample(_MAX_EXAMPLES)
            for name, data in given.items()
            if data is not None
        }
        self._expected = {
            name: list(map(self._reference, data))
            for name, data in self._data.items()
        }

    def ratios(self, recipe: Recipe, content: bytes) -> dict[str, float]:
        """The worst output's ratio, by the name of the data."""
        runtime = LiteRT(content, "builtin")
        found = {}
        for name, data in self._data.items():
            measured = comparison.measure(
                runtime,
                self._reference,
                self._expected[name],
                list(map(runtime.run, data)),
                recipe.quantize,
            )
            ratios = [agreement.judged_db for agreement in measured]
            is_known = not any(map(math.isnan, ratios))
            found[name] = min(ratios) if is_known else -math.inf
        return found


def _with_fewest_in_float(found: dict[str, float]) -> dict[str, float]:
    """Finds the first choice of layers that is good; else the best."""
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
    try:
        helping, others = trial.remedies()
    except (RuntimeError, ValueError):  # LiteRT does not run the file itself
        helping, others = (), ()
    if helping:
        listed = ", ".join(
            f"{x.words} gives {x.sqnr_db:.1f} dB" for x in helping
        )
        return f"{text}. Tried: {listed}."
    if others:
        return f"{text}. Tried, and no better: {', '.join(others)}."
    return f"{text}."
