"""The page of a report: complete, well formed, and harmless."""

import base64
import dataclasses
import html.parser
import itertools
import json
import re
import shlex

import pytest

from tests.export.report import results
from tfconv_export.report import directory
from tfconv_export.report import graph
from tfconv_export.report import page as pages

_VOID = {"meta", "img", "br", "hr"}
_LOADS = {"src", "href", "srcset", "poster", "data", "action", "background"}


class Page(html.parser.HTMLParser):
    """Checks a page while it reads it.

    Attributes:
        text: string, all text outside of `<style>`.
        tags: list of strings, every element.
        ids: list of strings.
        addresses: list of strings, all that a browser might follow or load.
        styles: list of strings, the style sheets and style attributes.
        code: list of strings, the content of each `<pre>`.
    """

    def __init__(self, content: str):
        super().__init__()
        self.tags, self.ids, self.addresses, self.styles = [], [], [], []
        self.code, self.open, self.text = [], [], ""
        self.feed(content)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "pre":
            self.code.append("")
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name.rpartition(":")[2] in _LOADS:
                self.addresses.append(value)
            if name == "id":
                self.ids.append(value)
            if name == "style":
                self.styles.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.styles.append(data)
            return
        self.text += data
        if "pre" in self.open:
            self.code[-1] += data


def render(case: str, images: dict | None = None) -> str:
    result, facts = results.ALL[case]()
    return pages.render(result, facts, images or {})


@pytest.mark.parametrize("case", results.ALL)
def test_the_page_is_well_formed_and_loads_nothing(case):
    page = Page(
        render(case, {"layer_sqnr": b"\x89PNG", "runtimes": b"\x89PNG"})
    )
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {
        *page.tags
    }
    for address in page.addresses:
        assert address.startswith(("#", "data:image/png;base64,")), address
    for style in page.styles:
        assert "url(" not in style
        assert "@import" not in style
    assert len(set(page.ids)) == len(page.ids)
    links = [address[1:] for address in page.addresses if address[0] == "#"]
    assert sorted(links) == sorted(page.ids)
    assert len(links) >= 5


def test_hostile_names_are_shown_and_not_run():
    content = render("hostile")
    assert "<script" not in content
    assert "\x00" not in content
    content.encode(errors="replace")
    page = Page(content)
    assert page.text.count("<script>alert('$x$')</script>\"&") > 50


@pytest.mark.parametrize("case", results.ALL)
def test_a_browser_is_told_to_refuse_what_is_not_in_the_page(case):
    policy = re.search(
        'Security-Policy" content="([^"]*)"', render(case)
    ).group(1)
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
    assert "script-src" not in policy
    assert "http" not in policy


def test_the_verdict_comes_first_and_in_words():
    passed, failed = Page(render("plain")).text, Page(render("failing")).text
    assert passed.index("Passed: 5 checks") < passed.index("Quantization")
    assert failed.index("Failed: 2 of 4 checks") < failed.index("Quantization")
    assert "Passed" not in failed
    assert "Failed" not in passed
    for check in results.failing()[0].failed:
        assert failed.index(check.detail) < failed.index("Quantization")


def test_probabilities_are_told_by_their_log_odds_on_all_data():
    result, facts = results.plain()
    told = dataclasses.replace(
        result.agreements[0],
        sqnr_db=0.0,
        log_odds_sqnr_db=27.3,
        data="evaluation",
    )
    result = dataclasses.replace(result, agreements=(*result.agreements, told))
    text = Page(pages.render(result, facts, {})).text
    head, _, table = text.partition("11 operators, all of them")
    assert "27.3 dB" in head
    assert "evaluation" in table and "27.3 dB" in table and "0.0 dB" in table


def test_what_an_engineer_asks_for_first_is_there():
    text = Page(render("plain")).text
    head = text[: text.index("11 operators, all of them")]
    for figure in (
        "45,120",
        "181,220",
        "int8",
        "33.1 dB",
        "93.30 %",
        "93.55 %",
    ):
        assert figure in head
    assert "21,408" in head
    head = Page(render("failing")).text
    for figure in ("412,345", "0.825 ms", "81.8 %", "9 of 11", "undefined"):
        assert figure in head


def test_everything_that_is_known_is_on_the_page():
    for case in ("plain", "failing"):
        result, facts = results.ALL[case]()
        text = Page(render(case)).text
        for check in result.checks:
            assert check.detail in text
        for warning in result.warnings:
            assert warning in text
        for layer in result.layers:
            assert layer.operator in text
        for operator in result.target.cpu_operators:
            assert operator.reason in text
        for package, version in result.versions.items():
            assert f"{package} {version}" in text
        assert "500 of 36,923" in text
        assert str(len(facts.operators)) in text
        assert "None" not in text


def test_sections_without_content_are_left_out():
    page = Page(render("float32"))
    assert not {"layers", "accuracy", "data", "layers-left-in-float"} & {
        *page.ids
    }
    assert {"checks", "runtimes", "operators", "sizes"} < {*page.ids}
    result, _ = results.float32()
    assert "operators" not in Page(pages.render(result, None, {})).ids


def test_the_command_is_the_one_that_was_given():
    result, _ = results.plain()
    page = Page(render("plain"))
    line = page.code[-1].replace("\\\n", "")
    assert shlex.split(line) == [
        "tfconv-export",
        "--model=my models/keyword_spotting.keras",
        "--output=build/keyword_spotting.tflite",
        "--quantize=int8",
        "--representative_data=features.npy",
        "--input_shape=98,40",
        "--overwrite",
    ]
    assert page.code[0] == result.target.resolver.strip()
    quoted = pages.command({"model": "a'b; rm *", "steps": 0})
    assert shlex.split(quoted.replace("\\\n", ""))[1:] == [
        "--model=a'b; rm *",
        "--steps=0",
    ]


@pytest.mark.parametrize("case", ["plain", "huge"])
def test_the_graph_has_every_tensor_that_one_operator_hands_to_another(case):
    _, facts = results.ALL[case]()
    rows, edges = graph.rows_and_edges(facts)
    first = len(facts.inputs)
    expected = {
        (first + source, first + target)
        for target, operator in enumerate(facts.operators)
        for source, maker in enumerate(facts.operators[:target])
        if set(operator.inputs) & set(maker.outputs)
    }
    expected |= {(0, first), (len(rows) - 2, len(rows) - 1)}
    assert {(edge.source, edge.target) for edge in edges} == expected
    assert len(edges) == len(expected)
    assert [row.label for row in rows] == [
        "input",
        *(operator.name for operator in facts.operators),
        "output",
    ]


def test_lines_of_the_graph_that_pass_each_other_lie_side_by_side():
    tensor = results.activation
    operator = results.OperatorFacts
    tensors = [tensor(f"t{place}") for place in range(8)]
    # Each reads all before it, as in a densely connected block.
    operators = tuple(
        operator("CONCATENATION", tuple(tensors[:place]), (tensors[place],))
        for place in range(1, 8)
    )
    facts = results.Facts(
        1, operators, inputs=(tensors[0],), outputs=(tensors[7],)
    )
    rows, edges = graph.rows_and_edges(facts)
    assert len(rows) == 9
    assert len(edges) == 7 * 8 // 2 + 1
    for edge in edges:
        assert (edge.lane == 0) == (edge.target == edge.source + 1)
    for lane in {edge.lane for edge in edges}:
        alone = sorted((e.source, e.target) for e in edges if e.lane == lane)
        for (_, end), (start, _) in itertools.pairwise(alone):
            assert end <= start


def test_pictures_lie_in_the_page_itself():
    page = Page(render("plain", {"scatter": b"\x89PNG of the scatter"}))
    (address,) = (item for item in page.addresses if item[0] != "#")
    data = address.removeprefix("data:image/png;base64,")
    assert base64.b64decode(data) == b"\x89PNG of the scatter"


def test_the_files_of_a_report_directory():
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    result, facts = results.hostile()
    files = directory.contents(result, facts)
    assert {"report.html", "report.json", "model_explorer_node_data.json"} < {
        *files
    }
    page = Page(files["report.html"].decode())
    images = [name for name in files if name.endswith(".png")]
    assert len(images) == page.tags.count("img") == 5
    for name in images:
        encoded = base64.b64encode(files[name]).decode()
        assert any(encoded in address for address in page.addresses)
    assert json.loads(files["report.json"])["size"] == result.size
    assert directory.contents(result, facts) == files
