"""The benchmark of training, at toy size."""

from tests.benchmarks import command


def test_it_reports_speed_first_step_and_memory_of_every_variant(tmp_path):
    torch = command.has_torch()
    variants = {"tfconv", "keras", "floor", *(["torch"] if torch else [])}
    table, contents = command.run_benchmark(
        "train_benchmark",
        tmp_path,
        "--networks=ds_cnn",
        "--kernel_sizes=3",
        "--inputs=40x1",
        "--batch=2",
        "--train_steps=1",
        "--nojit",
        "--floor",
        *(["--torch"] if torch else []),
    )
    (row,) = contents["rows"]
    assert row["cell"] == {
        "network": "ds_cnn",
        "kernel_size": 3,
        "batch": 2,
        "steps": 40,
        "channels": 1,
    }
    command.assert_times(row["seconds"], variants)
    assert set(row["first_step_seconds"]) == variants
    assert all(each > 0 for each in row["first_step_seconds"].values())
    assert set(row["peak_memory_mib"]) == variants
    assert all(mib > 1 for mib in row["peak_memory_mib"].values())
    for header in (
        "tfconv : keras",
        "floor : keras",
        "first step, s",
        "peak memory, MiB",
    ):
        assert f" {header} " in table
    assert " 2x40x1 " in table
