"""Tables on a terminal, which are Markdown too."""

from collections.abc import Iterable

import rich.box
import rich.console
import rich.table


def print_table(
    headers: Iterable[str], rows: Iterable[Iterable[str]]
) -> rich.console.Console:
    """Prints a table in Markdown, and returns the console that it is on."""
    table = rich.table.Table(box=rich.box.MARKDOWN)
    for number, header in enumerate(headers):
        table.add_column(
            header, justify="right" if number else "left", no_wrap=True
        )
    for row in rows:
        table.add_row(*row)
    console = rich.console.Console(highlight=False, markup=False)
    # A line too long is better than a number cut off.
    unlimited = console.options.update(max_width=10_000)
    console.width = max(
        console.width, console.measure(table, options=unlimited).maximum
    )
    console.print(table)
    return console
