"""The report as one page of HTML that loads nothing and runs nothing."""

import os
import shlex

from tfconv_export.flatbuffer import Facts
from tfconv_export.report import sections
from tfconv_export.report import streaming
from tfconv_export.report.markup import Markup
from tfconv_export.report.markup import anchor
from tfconv_export.report.markup import element
from tfconv_export.report.markup import join
from tfconv_export.report.markup import section
from tfconv_export.report.markup import text
from tfconv_export.report.style import CSS
from tfconv_export.report.text import badness
from tfconv_export.report.text import decibels
from tfconv_export.report.text import milliseconds
from tfconv_export.report.text import npu_share
from tfconv_export.report.text import number
from tfconv_export.report.text import percent
from tfconv_export.report.text import shown_db
from tfconv_export.result import ExportResult
from tfconv_export.streaming_result import StreamingResult

# A browser then refuses whatever a name might smuggle in.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(
    result: ExportResult,
    facts: Facts | None,
    pictures: dict[str, bytes],
    stream: StreamingResult | None = None,
) -> str:
    """The page.

    Args:
        result: an `ExportResult`, passed or failed.
        facts: of the file, or `None` if there is none.
        pictures: dict from a name to a PNG, as `pictures.draw` gives them.
        stream: of the streaming file beside it, or `None` if there is none.

    Returns:
        string, HTML in one file: no address outside of it, no script.
    """
    parts = [
        *([] if stream is None else streaming.all_sections(stream)),
        sections.checks(result),
        sections.accuracy(result),
        sections.runtimes(result, pictures),
        sections.layers(result, facts, pictures),
        *sections.changes(result),
        sections.operators(result, facts),
        sections.target(result),
        sections.sizes(result, facts),
        sections.interface(result),
        sections.data(result),
        _again(result),
    ]
    output = result.output if stream is None else stream.output
    name = os.path.basename(str(output)) or "model"
    body = join(
        [
            _header(result.model, output, name),
            _verdict(result, stream),
            _warnings(result),
            _figures(result, stream),
            _links(parts),
            *parts,
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(name)} - tfconv-export</title>\n"
        f"<style>{CSS}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def command(arguments: dict) -> str:
    """The command that makes the same file again.

    Args:
        arguments: dict from a flag to its value; those that are `None`,
            `False` or empty were not given.
    """
    flags = []
    for name, value in arguments.items():
        if value is None or value is False or value in ("", (), [], {}):
            continue
        if value is True:
            flags.append(f"--{name}")
            continue
        if isinstance(value, (list, tuple)):
            value = ",".join(map(str, value))
        flags.append(f"--{name}={shlex.quote(str(value))}")
    return " \\\n    ".join(["tfconv-export", *flags])


def _header(model: str, output: str, name: str) -> Markup:
    return element(
        "header",
        join(
            [
                element("p", "tfconv-export", "eyebrow"),
                element("h1", name),
                element("p", f"{model} → {output}"),
            ]
        ),
    )


def _verdict(result: ExportResult, stream: StreamingResult | None) -> Markup:
    failed, count = result.failed, len(result.checks)
    if stream is not None:
        failed, count = failed + stream.failed, count + len(stream.checks)
    if not failed:
        line = (
            "The file computes what was trained, on the "
            f"{_count(result.examples, 'example')} compared."
        )
        if result.warnings:
            line = "Read the warnings before this file is used."
        return element(
            "div",
            join(
                [
                    element("strong", f"Passed: {_count(count, 'check')}"),
                    element("p", line),
                ]
            ),
            "verdict",
        )
    items = join(
        element("li", join([element("b", check.name + ":"), check.detail]))
        for check in failed
    )
    head = (
        f"Failed: {len(failed)} of {_count(count, 'check')}. The file was not "
        "written."
    )
    return element(
        "div",
        join([element("strong", head), element("ul", items)]),
        "verdict failed",
    )


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _warnings(result: ExportResult) -> Markup:
    if not result.warnings:
        return Markup("")
    items = join(element("li", warning) for warning in result.warnings)
    head = element(
        "strong", _count(len(result.warnings), "warning").capitalize()
    )
    return element(
        "div", join([head, element("ul", items, "warnings")]), "warning"
    )


def _figures(result: ExportResult, stream: StreamingResult | None) -> Markup:
    """What an engineer wants to know first."""
    written = result if stream is None else stream
    target = written.target
    before = "" if result.model_size is None else f"from {result.model_size:,}"
    figures = [
        ("File, bytes", f"{written.size:,}", before),
        ("Quantization", result.quantize, f"{result.io_dtype} in and out"),
    ]
    if stream is not None:
        plan = stream.plan
        figures.append(
            ("MACs a hop", f"{plan.macs_per_hop:,}", f"hop of {plan.hop}")
        )
    if result.agreements:
        worst = min(result.agreements, key=badness)
        figures.append(
            ("Lowest SQNR", decibels(shown_db(worst)), f"on {worst.runtime}")
        )
    if result.accuracies:
        figures.append(_accuracy(result))
    if target is not None:
        figures.append(("Target", target.target, ""))
        if target.arena_bytes is not None:
            figures.append(("Arena, bytes", f"{target.arena_bytes:,}", ""))
        if target.cycles is not None:
            time = milliseconds(written)
            note = "" if time is None else f"{number(time, 3)} ms"
            figures.append(("Cycles", f"{target.cycles:,}", note))
        if npu_share(written) is not None:
            figures.append(
                (
                    "On the NPU",
                    percent(npu_share(written)),
                    f"{target.npu_operators} of {target.operators} operators",
                )
            )
    return Markup(
        '<dl class="figures">'
        + "".join(
            f"<div><dt>{text(name)}</dt><dd>{text(value)} "
            f"{element('small', note) if note else ''}</dd></div>"
            for name, value, note in figures
        )
        + "</dl>"
    )


def _accuracy(result: ExportResult) -> tuple[str, str, str]:
    shares = {
        (item.runtime == "model", item.output): item.correct / item.examples
        for item in reversed(result.accuracies)
        if item.examples
    }
    output = result.accuracies[0].output
    trained, found = shares.get((True, output)), shares.get((False, output))
    note = "" if trained is None else f"trained model {percent(trained, 2)}"
    return "Accuracy", percent(found, 2), note


def _links(parts: list[Markup]) -> Markup:
    titles = [
        Markup(part.split("<h2>", 1)[1].split("</h2>", 1)[0])
        for part in parts
        if "<h2>" in part
    ]
    links = join(
        Markup(f'<a href="#{anchor(title)}">{title}</a>') for title in titles
    )
    return element("nav", links)


def _again(result: ExportResult) -> Markup:
    versions = ", ".join(
        f"{name} {version}" for name, version in result.versions.items()
    )
    parts = []
    if result.arguments:
        parts.append(element("pre", command(result.arguments)))
    if versions:
        parts.append(element("p", f"With {versions}."))
    return section("Do it again", *parts) if parts else Markup("")
