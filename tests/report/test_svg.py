"""Charts parse as XML, and their points are where the axes say."""

import re
from xml.etree import ElementTree

import pytest

from openbei.report.scale import Scale
from openbei.report.svg import BOTTOM, COLORS, HEIGHT, LEFT, RIGHT, WIDTH, Chart, Line, draw

SVG = "{http://www.w3.org/2000/svg}"


def chart(*lines: Line, is_log_y: bool = False, title: str = "T") -> Chart:
    return Chart(title=title, description="D", x_label="x", y_label="y", lines=[*lines], is_log_y=is_log_y)


def groups(of: Chart) -> list[ElementTree.Element]:
    """The group of each line, after those of the legend."""
    root = ElementTree.fromstring(draw(of))
    return root.findall(f"{SVG}g")[len(of.lines) :]


def points(group: ElementTree.Element) -> list[tuple[float, float]]:
    line = group.find(f"{SVG}polyline")
    return (
        [] if line is None else [(float(x), float(y)) for x, y in (p.split(",") for p in line.attrib["points"].split())]
    )


def test_points() -> None:
    [group] = groups(chart(Line("a", [(0.0, 0.0), (5.0, 50.0), (10.0, 100.0)])))
    left, right, bottom, top = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, 38
    middle = ((left + right) / 2, (bottom + top) / 2)
    assert points(group) == [(left, bottom), pytest.approx(middle, abs=0.06), (right, top)]
    marks = group.findall(f"{SVG}path")
    titles = [mark.findtext(f"{SVG}title") for mark in marks]
    assert titles == ["a: 0 at 0", "a: 50 at 5", "a: 100 at 10"]
    places = [tuple(map(float, re.findall(r"[\d.]+", mark.attrib["transform"]))) for mark in marks]
    assert places == points(group)


def test_a_logarithmic_axis_leaves_out_zeros() -> None:
    [group] = groups(chart(Line("a", [(1.0, 0.0), (2.0, 10.0), (3.0, 1000.0), (4.0, float("nan"))]), is_log_y=True))
    y = Scale(10.0, 1000.0, HEIGHT - BOTTOM, 38.0, is_log=True)
    assert [at for _, at in points(group)] == pytest.approx([y(10.0), y(1000.0)], abs=0.06)


def test_a_reference_has_no_points() -> None:
    one, reference = groups(chart(Line("a", [(0.0, 1.0)]), Line("b", [(0.0, 0.0), (1.0, 1.0)], is_reference=True)))
    assert len(one.findall(f"{SVG}path")) == 1
    assert len(points(reference)) == 2
    assert not reference.findall(f"{SVG}path")


def test_text_for_readers_who_do_not_see_it() -> None:
    root = ElementTree.fromstring(draw(chart(Line("<a> & b", [(1.0, 1.0)]), title='"<&>"')))
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title") == '"<&>"'
    assert root.findtext(f"{SVG}desc") == "D"
    assert {"<a> & b", "x", "y"} <= {text.text for text in root.iter(f"{SVG}text")}


def test_many_lines() -> None:
    """More lines than colors differ in their markers; the legend takes several rows within the width."""
    lines = [Line(f"a long name {i}", [(1.0, float(i + 1))]) for i in range(9)]
    drawn = chart(*lines)
    root = ElementTree.fromstring(draw(drawn))
    legend = [group.find(f"{SVG}text") for group in root.findall(f"{SVG}g")[:9]]
    places = [(float(text.attrib["x"]), float(text.attrib["y"])) for text in legend if text is not None]
    assert len(set(places)) == 9
    assert max(x for x, _ in places) + 7 * len("a long name 8") < WIDTH
    looks = {(group.attrib["class"], group.findall(f"{SVG}path")[0].attrib["d"]) for group in groups(drawn)}
    assert len(looks) == 9 > len(COLORS)


def test_no_lines() -> None:
    assert groups(chart()) == []
    assert points(groups(chart(Line("a", [])))[0]) == []


@pytest.mark.parametrize("mode", [0, 1])
def test_contrast(mode: int) -> None:
    """Of lines with their background: at least 4.5:1 (WCAG 2.2)."""
    background = luminance(("#ffffff", "#111827")[mode])
    for color in COLORS:
        high, low = sorted([luminance(color[mode]), background], reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, color[mode]


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
