"""Times of variants that take turns, so that their ratios can be trusted.

A machine changes its pace as it heats up and as others use it. Variants that
run in turns meet the same pace, and the median of many turns forgets the rest.
"""

import dataclasses
import random
import statistics
import time
from collections.abc import Callable
from collections.abc import Mapping

MIN_ROUNDS = 3
_WARM_UPS = 2
# Thread pools spin for a while after their work, on cores that the next
# variant needs.
_REST_SECONDS = 0.003


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds per call.

    Attributes:
        first: the first call, with whatever it traces and compiles.
        median: of the rounds.
        minimum: of the rounds.
        rounds: int, how many there were.
    """

    first: float
    median: float
    minimum: float
    rounds: int


class Repeated:
    """A function, called often enough in a row for the clock to resolve it.

    Each call returns the seconds of one call of the function. The first calls
    it once; from there the count grows until they take `seconds` together.
    """

    def __init__(self, function: Callable[[], object], seconds: float = 2e-3):
        self._function = function
        self._seconds = seconds
        self._count = 1

    def __call__(self) -> float:
        start = time.perf_counter()
        for _ in range(self._count):
            self._function()
        elapsed = time.perf_counter() - start
        per_call = elapsed / self._count
        if elapsed < self._seconds:
            self._count = min(
                8 * self._count, max(1, round(self._seconds / per_call))
            )
        return per_call


def measure(
    variants: Mapping[str, Callable[[], float]], rounds: int, seconds: float
) -> dict[str, Timing]:
    """Runs the variants in turns, in another order each round.

    A variant of which one call takes longer than `seconds` is called just once
    more after its first call, which compiles.

    Args:
        variants: from a name to a function that runs the variant and returns
            the seconds of one call, such as `Repeated`.
        rounds: int, how many at most.
        seconds: after this time no further round begins, if there were
            `MIN_ROUNDS`.

    Returns:
        From each name to its `Timing`.
    """
    first = {name: run() for name, run in variants.items()}
    samples = {name: [] for name in variants}
    order = []
    for name, run in variants.items():
        second = run()
        if second > seconds > 0:
            samples[name].append(second)
        else:
            order.append(name)
    for _ in range(_WARM_UPS - 1):
        for name in order:
            variants[name]()
    shuffle = random.Random(0).shuffle
    deadline = time.perf_counter() + seconds
    for done in range(rounds):
        if done >= MIN_ROUNDS and time.perf_counter() > deadline:
            break
        shuffle(order)
        for name in order:
            time.sleep(_REST_SECONDS)
            samples[name].append(variants[name]())
    return {
        name: Timing(
            first=first[name],
            median=statistics.median(times),
            minimum=min(times),
            rounds=len(times),
        )
        for name, times in samples.items()
    }


def ratio(
    timings: Mapping[str, Timing], slower: str, faster: str
) -> float | None:
    """How many times longer one takes; `None` if either was not measured."""
    if slower not in timings or faster not in timings:
        return None
    return timings[slower].median / timings[faster].median
