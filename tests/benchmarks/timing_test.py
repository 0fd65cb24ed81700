"""Variants that take turns."""

import itertools
import time

import pytest

from benchmarks import timing


def scripted(log, name, seconds):
    """A variant that takes what it is told, and logs its turns."""
    script = itertools.chain(seconds, itertools.repeat(1.0))

    def run() -> float:
        log.append(name)
        return next(script)

    return run


def test_every_variant_takes_one_turn_in_every_round():
    log = []
    names = ("a", "b", "c")
    timings = timing.measure(
        {name: scripted(log, name, []) for name in names}, 5, seconds=60
    )
    rounds = [log[start : start + 3] for start in range(0, len(log), 3)]
    assert all(sorted(turns) == list(names) for turns in rounds)
    assert len({tuple(turns) for turns in rounds[-5:]}) > 1
    assert all(timing.rounds == 5 for timing in timings.values())


def test_the_first_call_counts_by_itself_and_warm_ups_do_not_count():
    run = scripted([], "a", [90.0, 80.0, 70.0, 3.0, 2.0, 7.0])
    assert timing.measure({"a": run}, 3, seconds=100) == {
        "a": timing.Timing(first=90.0, median=3.0, minimum=2.0, rounds=3)
    }


@pytest.mark.parametrize(("rounds", "expected"), [(2, 2), (50, 3)])
def test_without_time_left_there_are_three_rounds_at_most(rounds, expected):
    timings = timing.measure({"a": lambda: 1.0}, rounds, seconds=0)
    assert timings["a"].rounds == expected


def test_what_takes_longer_than_all_the_time_is_called_once_after_its_first():
    log = []
    timings = timing.measure(
        {
            "slow": scripted(log, "slow", [90.0, 70.0]),
            "fast": scripted(log, "fast", []),
        },
        4,
        seconds=60,
    )
    assert log.count("slow") == 2
    assert timings["slow"] == timing.Timing(90.0, 70.0, 70.0, rounds=1)
    assert timings["fast"].rounds == 4


def test_a_short_function_is_called_until_the_clock_resolves_it():
    calls = []
    repeated = timing.Repeated(lambda: calls.append(0), seconds=1e-3)
    start = time.perf_counter()
    per_call = [repeated() for _ in range(20)]
    elapsed = time.perf_counter() - start
    assert len(calls) > 100
    assert min(per_call) * len(calls) <= elapsed


def test_a_ratio_is_that_of_the_medians_and_none_of_what_is_missing():
    timings = {
        "slow": timing.Timing(9, median=3.0, minimum=1.0, rounds=3),
        "fast": timing.Timing(9, median=2.0, minimum=1.0, rounds=3),
    }
    assert timing.ratio(timings, "slow", "fast") == 1.5
    assert timing.ratio(timings, "slow", "torch") is None
