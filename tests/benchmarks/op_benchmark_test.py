"""The benchmark of one convolution, at toy size."""

from tests.benchmarks import command

LAYERS = {"tfconv", "keras", "tfconv_jit", "keras_jit"}


def test_it_reports_every_variant_of_the_cells_asked_for(tmp_path):
    """That they compute the same, it checks itself."""
    torch = command.has_torch()
    table, contents = command.run_benchmark(
        "op_benchmark",
        tmp_path,
        "--channels=3",
        "--kernel_sizes=4",
        "--axes_kernel_sizes=5",
        "--strides=1,2",
        "--dilations=1",
        "--multipliers=2",
        "--batches=2",
        "--steps=9",
        *(["--torch"] if torch else []),
    )
    assert [
        (
            row["cell"]["computes"],
            row["cell"]["kernel_size"],
            row["cell"]["stride"],
        )
        for row in contents["rows"]
    ] == [
        ("y", 4, 1),
        ("y+dx+dw", 4, 1),
        ("y", 5, 2),
        ("y+dx+dw", 5, 2),
    ]
    for row in contents["rows"]:
        command.assert_times(
            row["seconds"],
            {*LAYERS, "copy", *(["torch"] if torch else [])},
        )
    assert table.count("2x9x3") == 4
    for header in ("keras / tfconv", "keras / tfconv, jit", "tfconv / copy"):
        assert f" {header} " in table
    assert contents["machine"]["cpu"] in table
    assert contents["command"] in table
    assert "--kernel_sizes=4" in contents["command"]
