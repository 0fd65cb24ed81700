"""The benchmark of streaming files, at toy size."""

import importlib.util

import pytest

from tests.benchmarks import command


def test_it_reports_a_hop_and_a_whole_window_on_every_runtime(tmp_path):
    """That both files compute the same, the export proves."""
    micro = importlib.util.find_spec("tflite_micro") is not None
    runtimes = ["reference", *(["micro"] if micro else [])]
    table, contents = command.run_benchmark(
        "streaming_benchmark",
        tmp_path,
        "--networks=31x4x8x2",
        "--quantize=int8",
        "--heads=pool_dense,dense_pool",
        f"--runtimes={','.join(runtimes)}",
    )
    assert [row["cell"] for row in contents["rows"]] == [
        {
            "quantize": "int8",
            "runtime": runtime,
            "state": "external",
            "steps": 31,
            "channels": 4,
            "filters": 8,
            "hop": 2,
            "head": head,
        }
        for head in ("pool_dense", "dense_pool")
        for runtime in runtimes
    ]
    for row in contents["rows"]:
        command.assert_times(row["seconds"], {"whole", "streaming"})
        assert row["file_bytes"]["streaming"] > row["file_bytes"]["whole"]
        _assert_counts(row)
        arenas = row["arena_bytes"]
        if row["cell"]["runtime"] == "micro":
            # In no less than what it has to hold.
            assert arenas["streaming"] > row["state_bytes"]["streaming"]
            assert arenas["whole"] > 31 * 4
        else:
            assert arenas == {}
    assert table.count("31x4x8, 2") == 2 * len(runtimes)
    assert " whole / hop " in table


def _assert_counts(row: dict) -> None:
    """By hand: 31 steps, then 14, 10, 2; 4 channels, then 8."""
    first, later = 5 * 4 + 4 * 8, 3 * 8 + 8 * 8
    dense = 8 * 12
    pools_first = row["cell"]["head"] == "pool_dense"
    assert row["macs"] == {
        "streaming": first + 2 * later + dense,
        "whole": 14 * first
        + (10 + 2) * later
        + dense * (1 if pools_first else 2),
    }
    # The window leaves no step unused: 5 taps look back on 3 beyond the hop.
    # Dilated by 2 and 4, 3 taps look back on 4 and 8; the mean on 1.
    mean = 8 if pools_first else 12
    assert row["state_bytes"] == {"streaming": 3 * 4 + (4 + 8) * 8 + mean}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--networks=98x40x64"], ["--networks", "98x40x64", "98x40x64x2"]),
        (["--networks=31x4x8x3"], ["hop", "3"]),
        (["--runtimes=phone"], ["--runtimes=phone", "xnnpack"]),
        (["--heads=neck"], ["--heads=neck", "dense_pool"]),
    ],
)
def test_a_request_that_cannot_be_met_is_a_sentence_and_status_2(
    tmp_path, arguments, names
):
    process = command.run(
        "-m", "benchmarks.streaming_benchmark", *arguments, folder=tmp_path
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert "Traceback" not in process.stderr
    for name in names:
        assert name in process.stderr
