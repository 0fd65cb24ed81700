"""The pictures of a report."""

import dataclasses
import io
import math
import struct
import sys
import zlib

import numpy as np
import pytest

from tests.export.report import results
from tfconv_export.errors import UsageError
from tfconv_export.report import directory
from tfconv_export.report import pictures

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib")
image = pytest.importorskip("matplotlib.image", reason="needs matplotlib")

VERMILLION = (0xD5, 0x5E, 0x00)
LAYERS = {"layer_sqnr", "activation_ranges", "weight_ranges"}
ALWAYS = {"runtimes"}


def check_png(content: bytes) -> tuple[int, int]:
    """Reads a PNG by the standard; gives its width and height."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, kinds, shape = 8, [], None
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        data = content[at + 8 : at + 8 + length]
        (crc,) = struct.unpack(
            ">I", content[at + 8 + length : at + 12 + length]
        )
        assert crc == zlib.crc32(kind + data)
        kinds.append(kind)
        if kind == b"IHDR":
            shape = struct.unpack(">II", data[:8])
        at += 12 + length
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"
    return shape


def pixels(content: bytes) -> np.ndarray:
    """The colours `[height, width, 3]`, from 0 to 255."""
    read = image.imread(io.BytesIO(content), format="png")
    return np.round(255 * read[..., :3]).astype(int)


@pytest.mark.parametrize(
    "case, names",
    [
        ("plain", LAYERS | ALWAYS | {"scatter"}),
        ("badly_calibrated", LAYERS | ALWAYS | {"scatter"}),
        ("failing", LAYERS | ALWAYS | {"scatter"}),
        ("hostile", LAYERS | ALWAYS | {"scatter"}),
        ("float32", ALWAYS),
        ("huge", LAYERS | ALWAYS | {"scatter"}),
    ],
)
def test_pictures_are_of_one_width_and_nothing_is_cut_off(case, names):
    found = pictures.draw(*results.ALL[case]())
    assert found.keys() == names
    for name, content in found.items():
        width, height = check_png(content)
        assert width == 1440, name
        assert 100 < height < 6000, name
        colors = pixels(content)
        assert (colors < 250).any(), name
        frame = (colors[:3], colors[-3:], colors[:, :3], colors[:, -3:])
        assert all((edge == 255).all() for edge in frame), name


def of_every_kind():
    """Ratios and weights that differ by much, and several outputs."""
    result, facts = results.plain()
    ratios = (math.inf, -math.inf, math.nan, -12.0, 0.0, 55.0)
    runtimes = ("LiteRT XNNPACK", "LiteRT reference", "TFLite Micro")
    outputs = ("a_classification_head_with_a_long_name", "vad")
    pairs = [(name, output) for name in runtimes for output in outputs]
    return dataclasses.replace(
        result,
        layers=tuple(
            dataclasses.replace(
                layer,
                sqnr_db=ratio,
                weight_minimum=-(10.0 ** (place - 5)),
                weight_maximum=10.0 ** (place - 4),
            )
            for place, (layer, ratio) in enumerate(
                zip(result.layers, ratios, strict=False)
            )
        ),
        agreements=tuple(
            results.agreement(name, ratio, output)
            for (name, output), ratio in zip(pairs, ratios, strict=True)
        ),
        scatters=tuple(
            results.scatter(name, 0.03, output) for name, output in pairs
        ),
    ), facts


def shown_ticks(axis) -> list:
    low, high = sorted(axis.get_view_interval())
    return [
        label
        for at, label in zip(
            axis.get_ticklocs(), axis.get_ticklabels(), strict=True
        )
        if low <= at <= high
    ]


@pytest.mark.parametrize("case", [*results.ALL, "of_every_kind"])
def test_no_two_texts_of_a_picture_lie_on_each_other(case, monkeypatch):
    make_png, seen = pictures._png, []

    def look(figure):
        content = make_png(figure)
        figure.draw_without_rendering()  # saving had another resolution
        boxes = []
        for axes in figure.axes:
            texts = [
                *axes.texts,
                *shown_ticks(axes.xaxis),
                *shown_ticks(axes.yaxis),
                axes.xaxis.label,
                axes.yaxis.label,
                axes._left_title,
            ]
            for text in texts:
                if text.get_text() and axes.axison:
                    seen.append(text.get_text())
                    # As high as the highest letter: they may touch.
                    boxes.append(text.get_window_extent().shrunk(0.9, 0.7))
        x0, y0, x1, y1 = np.array([box.extents for box in boxes]).T
        overlaps = (
            (x0[:, None] < x1)
            & (x0 < x1[:, None])
            & (y0[:, None] < y1)
            & (y0 < y1[:, None])
        )
        np.testing.assert_array_equal(overlaps, np.eye(len(boxes), dtype=bool))
        return content

    monkeypatch.setattr(pictures, "_png", look)
    make = {**results.ALL, "of_every_kind": of_every_kind}[case]
    pictures.draw(*make())
    assert len(seen) > 5
    assert not any("math" in text for text in seen)


def only_layers(*layers):
    result, facts = results.plain()
    return dataclasses.replace(
        result, layers=layers, agreements=(), scatters=()
    ), facts


def vermillion(content: bytes) -> np.ndarray:
    """The rows of a picture that have the colour of what is bad."""
    return np.unique(np.where((pixels(content) == VERMILLION).all(-1))[0])


def test_the_worst_operator_stands_out_at_its_place():
    result, facts = results.plain()
    layers = [
        dataclasses.replace(layer, sqnr_db=30.0) for layer in result.layers[:4]
    ]
    heights = []
    for place in range(4):
        changed = list(layers)
        changed[place] = dataclasses.replace(layers[place], sqnr_db=12.0)
        found = pictures.draw(only_layers(*changed)[0], facts)
        heights.append(vermillion(found["layer_sqnr"]).mean())
    assert np.all(np.diff(heights) > 20)
    np.testing.assert_allclose(np.diff(heights), np.diff(heights)[0], atol=3)


def test_what_is_clipped_stands_out_and_what_fits_does_not():
    layer = results.plain()[0].layers[0]
    fits = dataclasses.replace(
        layer, minimum=-1.0, maximum=1.0, lowest=-1.0, highest=1.0, clipped=0.0
    )
    clipped = dataclasses.replace(fits, maximum=3.0, clipped=0.05)
    found = pictures.draw(only_layers(fits)[0])["activation_ranges"]
    assert not len(vermillion(found))
    found = pictures.draw(only_layers(clipped)[0])["activation_ranges"]
    assert len(vermillion(found))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -300.0, 0.0])
def test_any_ratio_can_be_drawn(value):
    result, facts = results.plain()
    layer = dataclasses.replace(result.layers[0], sqnr_db=value)
    agreement = results.agreement("LiteRT", value)
    for layers in ((layer,), (layer, result.layers[1])):
        found = pictures.draw(
            dataclasses.replace(
                result, layers=layers, agreements=(agreement,), scatters=()
            ),
            facts,
        )
        assert found.keys() == LAYERS | ALWAYS


def test_values_that_are_not_finite_are_left_out_of_the_scatter():
    result, _ = results.plain()
    bad = (math.nan, math.inf, 1.0)
    for expected, found in ((bad, bad), (bad, (0.5,) * 3), ((math.nan,),) * 2):
        scatter = results.Scatter("LiteRT", "y", expected, found)
        changed = dataclasses.replace(result, scatters=(scatter,), layers=())
        assert "scatter" in pictures.draw(changed)


def test_layers_that_were_not_quantized_have_no_ranges():
    layer = dataclasses.replace(
        results.plain()[0].layers[0],
        lowest=None,
        highest=None,
        weight_minimum=None,
        weight_maximum=None,
    )
    found = pictures.draw(only_layers(layer)[0])
    assert found.keys() == {"layer_sqnr"}


def test_of_very_many_operators_the_worst_are_drawn():
    result, facts = results.huge(60)
    assert len(result.layers) > 150
    for content in pictures.draw(result, facts).values():
        assert check_png(content)[1] < 6000


def test_the_callers_style_is_neither_used_nor_changed():
    expected = pictures.draw(*results.plain())
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        found = pictures.draw(*results.plain())
        assert dict(matplotlib.rcParams) == before
    assert found == expected


def test_without_matplotlib_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'tfconv\[report\]'"):
        pictures.require_matplotlib()
    with pytest.raises(UsageError, match=r"pip install 'tfconv\[report\]'"):
        directory.contents(*results.plain())
