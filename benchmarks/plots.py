"""Pictures of the measurements. Matplotlib is imported when one is drawn."""

import itertools

from benchmarks.report import Row

# Keras and tfconv in colours of their own, whatever else is shown.
_COLORS = {
    "tfconv": "tab:blue",
    "tfconv_jit": "tab:cyan",
    "keras": "tab:red",
    "keras_jit": "tab:orange",
    "torch": "tab:green",
}


def draw_kernel_sizes(path: str, rows: list[Row]) -> None:
    """Time over kernel size in copies, of the plain convolutions.

    One panel for each number of channels, one row of them for each of what is
    computed. Other strides, dilations, multipliers and batches than the
    first row's are left out.
    """
    others = ("batch", "stride", "dilation", "multiplier")
    rows = [
        row
        for row in rows
        if all(row.cell[key] == rows[0].cell[key] for key in others)
    ]
    computes = list(dict.fromkeys(row.cell["computes"] for row in rows))
    channels = list(dict.fromkeys(row.cell["channels"] for row in rows))
    figure = _figure(2 + 3 * len(channels), 1 + 3 * len(computes))
    panels = figure.subplots(
        len(computes), len(channels), squeeze=False, sharex=True, sharey="row"
    )
    for (i, what), (j, width) in itertools.product(
        enumerate(computes), enumerate(channels)
    ):
        _draw_panel(
            panels[i, j],
            [
                row
                for row in rows
                if (row.cell["computes"], row.cell["channels"]) == (what, width)
            ],
        )
        panels[i, j].set_title(f"{what}, c = {width}")
        if not j:
            panels[i, j].set_ylabel("times a copy of the inputs")
        if i == len(computes) - 1:
            panels[i, j].set_xlabel("kernel size")
    panels[0, 0].legend()
    figure.savefig(path)


def draw_training(path: str, rows: list[Row]) -> None:
    """Bars of training steps per second, in units of Keras's."""
    _draw_bars(
        path,
        rows,
        "{network} {steps}x{channels} k={kernel_size}",
        "training speed (keras = 1)",
    )


def draw_latency(path: str, rows: list[Row]) -> None:
    """Bars of speed on LiteRT, in units of Keras's file."""
    _draw_bars(
        path,
        rows,
        "{case} {quantize} {steps}x{channels} k={kernel_size}",
        "speed on LiteRT (keras = 1)",
    )


def _draw_panel(axes, rows: list[Row]) -> None:
    rows = sorted(rows, key=lambda row: row.cell["kernel_size"])
    sizes = [row.cell["kernel_size"] for row in rows]
    for name, color in _COLORS.items():
        if rows and name in rows[0].timings:
            axes.plot(
                sizes,
                [
                    row.timings[name].median / row.timings["copy"].median
                    for row in rows
                ],
                marker="o",
                color=color,
                label=name.replace("_", " "),
            )
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_yscale("log")
    axes.grid(alpha=0.3)


def _draw_bars(path: str, rows: list[Row], label: str, title: str) -> None:
    names = [name for name in _COLORS if name in rows[0].timings]
    height = 0.8 / len(names)
    figure = _figure(9, 1.5 + 0.25 * len(rows) * len(names))
    axes = figure.subplots()
    for number, name in enumerate(names):
        axes.barh(
            [
                index + (number + 0.5) * height - 0.4
                for index in range(len(rows))
            ],
            [
                row.timings["keras"].median / row.timings[name].median
                for row in rows
            ],
            height,
            color=_COLORS[name],
            label=name.replace("_", " "),
        )
    axes.set_yticks(range(len(rows)), [label.format(**r.cell) for r in rows])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.5)
    axes.set_xlabel(title)
    axes.legend()
    figure.savefig(path)


def _figure(width: float, height: float):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")
