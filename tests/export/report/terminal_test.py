"""What a report says on the terminal, as JSON and to Model Explorer."""

import dataclasses
import io
import json
import math
import pathlib
import re

import numpy as np
import pytest
import rich.console

from tests.export.report import results
from tfconv_export.report import as_json
from tfconv_export.report import model_explorer
from tfconv_export.report import terminal


def printed(result, width: int = 200) -> str:
    stream = io.StringIO()
    terminal.print_table(
        result, rich.console.Console(file=stream, width=width, no_color=True)
    )
    return stream.getvalue()


def strict(text: str):
    """JSON as the standard has it: without NaN and Infinity."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("case", results.ALL)
def test_json_holds_every_field_of_the_result(case):
    result, facts = results.ALL[case]()
    found = strict(terminal.to_json(result, facts))
    assert found["schema_version"] == 1
    assert found["passed"] == (not result.failed)
    for field in dataclasses.fields(result):
        assert field.name in found
    assert found["size"] == result.size
    assert len(found["layers"]) == len(result.layers)
    for layer, expected in zip(found["layers"], result.layers, strict=True):
        assert layer["tensor"] == expected.tensor
        assert tuple(layer["shape"]) == expected.shape
        if math.isfinite(expected.sqnr_db):
            assert layer["sqnr_db"] == expected.sqnr_db
        else:
            assert layer["sqnr_db"] is None
    assert len(found["file"]["operators"]) == len(facts.operators)


def test_every_key_of_the_json_is_documented_and_the_other_way_round():
    documented = {
        key
        for line in as_json.__doc__.splitlines()
        if line.startswith("| `")
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    found = strict(terminal.to_json(*results.failing()))
    assert documented == found.keys() | found["file"].keys()


def test_json_without_a_file_and_without_the_bytes_for_an_npu():
    result, _ = results.failing()
    found = strict(terminal.to_json(result))
    assert found["file"] is None
    assert "compiled" not in found["target"]
    assert found["target"]["cycles"] == 412_345


def test_json_takes_whatever_an_argument_was_given_as():
    result, _ = results.plain()
    arguments = {
        "output": pathlib.Path("build") / "x.tflite",
        "threshold": np.float32(0.5),
        "representative_data": np.zeros((3, 2)),
        "undefined": np.float64(math.nan),
    }
    result = dataclasses.replace(result, arguments=arguments)
    assert strict(terminal.to_json(result))["arguments"] == {
        "output": str(pathlib.Path("build") / "x.tflite"),
        "threshold": 0.5,
        "representative_data": "<ndarray>",
        "undefined": None,
    }


@pytest.mark.parametrize("case", results.ALL)
def test_node_data_gives_each_operator_of_the_file_its_decibels(case):
    result, facts = results.ALL[case]()
    (graph,) = strict(model_explorer.node_data(result, facts)).items()
    assert graph[0] == "main"
    outputs = {op.outputs[0].name for op in facts.operators}
    expected = {layer.tensor: layer.sqnr_db for layer in result.layers}
    assert graph[1]["results"].keys() == expected.keys() <= outputs
    for name, value in graph[1]["results"].items():
        assert value["value"] == pytest.approx(
            min(expected[name], 200), abs=0.01
        )
    bounds = [threshold["value"] for threshold in graph[1]["thresholds"]]
    assert bounds == sorted(set(bounds))
    for value in graph[1]["results"].values():
        assert value["value"] <= bounds[-1]


def test_the_terminal_shows_what_decides_whether_to_ship():
    shown = printed(results.plain()[0])
    for words in (
        "features: 500 of 36,923 examples of features.npy",
        "1,871 of 2,000",
        "93.55 %",
        "93.30 %",
        "arena 21,408 bytes",
        "resolver.AddDepthwiseConv2D();",
    ):
        assert words in shown
    result = results.failing()[0]
    shown = printed(result)
    for words in (
        "FAIL",
        "9 of 11 operators on the NPU (81.8 %)",
        "412,345 cycles",
        "0.825 ms at 500 MHz",
        "SRAM 48,128 bytes",
        "SOFTMAX (StatefulPartitionedCall:0) runs on the CPU: Softmax of int8",
        "left in float: block_0, head",
        "folded: norm into conv and head",
        "equalized: conv to head",
        *(f"warning: {warning}" for warning in result.warnings),
    ):
        assert words in shown


def test_the_terminal_names_the_three_worst_layers():
    result, _ = results.plain()
    finite = [item for item in result.layers if math.isfinite(item.sqnr_db)]
    order = sorted(finite, key=lambda item: item.sqnr_db)
    shown = printed(result)
    for layer in order[:3]:
        assert f"{layer.sqnr_db:.1f} dB" in shown
    assert f"{order[3].sqnr_db:.1f} dB" not in shown
    undefined = dataclasses.replace(result.layers[0], sqnr_db=math.nan)
    result = dataclasses.replace(result, layers=(*result.layers[1:], undefined))
    assert "undefined" in printed(result)


def test_the_terminal_is_quiet_about_what_is_not_there():
    shown = printed(results.float32()[0])
    for words in ("accuracy", "layers", "warning", "float:", "None"):
        assert words not in shown


def test_lines_of_code_are_not_broken_on_a_narrow_terminal():
    result, _ = results.plain()
    lines = result.target.resolver.strip().splitlines()
    assert "\n".join(lines) in printed(result, width=30)


def test_hostile_names_reach_the_terminal_as_text():
    shown = printed(results.hostile()[0])
    assert "<script>" in shown
    assert "\x00" not in shown
    shown.encode()  # no surrogates: a terminal can take it


def test_line_break_in_a_name_begins_no_line_of_its_own():
    result, _ = results.plain()
    result = dataclasses.replace(
        result, warnings=("x\nall 8 checks passed: o.tflite is written",)
    )
    lines = printed(result, width=200).splitlines()
    assert not any(line.startswith("all 8 checks") for line in lines)
