"""The benchmark of exported files, at toy size."""

from tests.benchmarks import command


def test_it_reports_both_files_in_float_and_in_int8(tmp_path):
    """That they compute the same, it checks itself."""
    table, contents = command.run_benchmark(
        "latency_benchmark",
        tmp_path,
        "--cases=causal_dilated",
        "--inputs=20x8",
        "--kernel_sizes=3",
    )
    assert [row["cell"] for row in contents["rows"]] == [
        {
            "case": "causal_dilated",
            "quantize": quantize,
            "steps": 20,
            "channels": 8,
            "kernel_size": 3,
        }
        for quantize in ("none", "int8")
    ]
    for row in contents["rows"]:
        command.assert_times(row["seconds"], {"tfconv", "keras"})
        assert row["kib"]["tfconv"] > 1
    assert table.count("causal_dilated") >= 2
    assert " keras / tfconv " in table


def test_the_floor_is_of_what_has_no_stride(tmp_path):
    table, contents = command.run_benchmark(
        "latency_benchmark",
        tmp_path,
        "--cases=causal,strided",
        "--inputs=400x1",
        "--kernel_sizes=3",
        "--quantize=int8",
        "--floor",
    )
    causal, strided = contents["rows"]
    command.assert_times(causal["seconds"], {"tfconv", "keras", "floor"})
    command.assert_times(strided["seconds"], {"tfconv", "keras"})
    # The same operators and weights: only shapes and names differ.
    assert 0.9 < causal["kib"]["floor"] / causal["kib"]["tfconv"] < 1.1
    assert " keras / floor " in table
