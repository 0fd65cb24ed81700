"""A plan as text."""

_TITLES = (
    "layer",
    "class",
    "frames",
    "ring buffer",
    "delay",
    "bytes",
    "MACs/hop",
    "MACs/window",
)
_LEFT = ("layer", "class", "frames", "ring buffer")


def table(plan) -> str:
    """A row for each call site of a `Plan`, the totals, and what holds."""
    rows = [_TITLES, *(_row(call) for call in plan.calls)]
    rows.append(
        (
            "total",
            "",
            f"{plan.hop} of {plan.window}",
            "",
            str(plan.delay),
            f"{plan.state_bytes:,}",
            f"{plan.macs_per_hop:,}",
            f"{plan.macs_per_window:,}",
        )
    )
    widths = [
        max(len(cell) for cell in column) for column in zip(*rows, strict=True)
    ]
    lines = [_line(row, widths) for row in rows]
    return "\n".join([f"{plan.model}:", *lines, _footer(plan)])


def _row(call) -> tuple[str, ...]:
    shapes = " + ".join(
        "x".join(str(size) for size in state.shape) for state in call.states
    )
    return (
        call.name,
        call.kind,
        f"{_frames(call.frames_in)} -> {_frames(call.frames_out)}",
        shapes,
        str(call.delay or ""),
        f"{call.bytes:,}" if call.states else "",
        _macs(call.macs_per_hop),
        _macs(call.macs_per_window),
    )


def _frames(frames: int | None) -> str:
    return "all" if frames is None else str(frames)


def _macs(number: int | None) -> str:
    if number is None:
        return "?"
    return f"{number:,}" if number else ""


def _line(row, widths) -> str:
    cells = (
        cell.ljust(width) if title in _LEFT else cell.rjust(width)
        for title, cell, width in zip(_TITLES, row, widths, strict=True)
    )
    return "  ".join(cells).rstrip()


def _footer(plan) -> str:
    if plan.every_hop:
        return (
            "Equal to the model on whole windows at every hop, from hop "
            f"{plan.hops_until_full} after a reset on."
        )
    return (
        f"Equal to the model on a whole window at hop {plan.hops_until_full} "
        "after a reset; later hops\nsee frames before the window where the "
        "model sees zeros."
    )
