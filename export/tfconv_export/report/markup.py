"""The little HTML that a report is made of; all text is escaped."""

import base64
import html
import re
from collections.abc import Iterable
from collections.abc import Sequence

from tfconv_export.printable import clean


class Markup(str):
    """Text that is HTML already."""


def text(value: str) -> Markup:
    """Text as HTML: escaped unless it is `Markup`."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(clean(value)))


def element(name: str, content: str, style: str = "") -> Markup:
    """An element around text or `Markup`, of the CSS class `style`."""
    attribute = f' class="{style}"' if style else ""
    return Markup(f"<{name}{attribute}>{text(content)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """One piece of HTML of several."""
    return Markup("\n".join(text(part) for part in parts))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[int] = (),
    keep: Sequence[int] = (),
    styles: Sequence[str] = (),
) -> Markup:
    """A table.

    Args:
        columns: list of strings, the heads.
        rows: for each row its cells, text or `Markup`.
        numbers: list of ints, the columns that are aligned to the right.
        keep: list of ints, the columns that are not broken into lines.
        styles: list of strings, the CSS class of each row.
    """

    def row(cells: Sequence[str], name: str, style: str) -> Markup:
        classes = {**dict.fromkeys(keep, "k"), **dict.fromkeys(numbers, "n")}
        return element(
            "tr",
            Markup(
                "".join(
                    element(name, cell, classes.get(index, ""))
                    for index, cell in enumerate(cells)
                )
            ),
            style,
        )

    styles = styles or [""] * len(rows)
    body = join(
        row(cells, "td", style)
        for cells, style in zip(rows, styles, strict=True)
    )
    head = element("thead", row(columns, "th", ""))
    content = element("table", join([head, element("tbody", body)]))
    return element("div", content, "scroll")


def section(title: str, *parts: str) -> Markup:
    """A section, to which a link leads from the top of the page."""
    content = join([element("h2", title), *parts])
    return Markup(f'<section id="{anchor(title)}">{content}</section>')


def anchor(title: str) -> str:
    """The name of a section in links."""
    return re.sub(r"\W+", "-", text(title).lower()).strip("-")


def picture(image: bytes | None, alt: str, caption: str = "") -> Markup:
    """A PNG within the page; nothing if there is none."""
    if image is None:
        return Markup("")
    data = base64.b64encode(image).decode()
    img = Markup(
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'
    )
    return element(
        "figure",
        join([img, element("figcaption", caption)] if caption else [img]),
    )
