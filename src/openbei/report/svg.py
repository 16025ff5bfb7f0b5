"""Line charts as SVG, without scripts. They follow the reader's light or dark mode."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from openbei.report.scale import Scale, short_number

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, BOTTOM = 76, 24, 56
CHARACTER = 6.7
"""Width of a character of the legend; a little more than the average one."""

LEGEND_ROW = 22

COLORS = (
    ("#0b62b0", "#6cb3f5"),
    ("#c2410c", "#fb923c"),
    ("#047857", "#4ade80"),
    ("#9d2f7e", "#f0a3dd"),
    ("#7a5a00", "#facc15"),
    ("#4b5563", "#cbd5e1"),
)
"""Colors of lines in light and in dark mode: contrast with the background of at least 4.5:1."""

MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    "M-4 -4h8v8h-8z",
    "M0 -5l5 9h-10z",
    "M0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z",
    "M0 5l5 -9h-10z",
    "M-5 -1.5h3.5v-3.5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5z",
)
"""Shapes of points, so that lines differ in more than their color."""

STYLE = (
    ".chart{--fg:#1f2937;--mid:#4b5563;--grid:#d8dde4;--bg:#fff;font:13px system-ui,sans-serif}"
    ".chart text{fill:var(--fg)}.chart .tick{fill:var(--mid);font-variant-numeric:tabular-nums}"
    ".chart .grid{stroke:var(--grid);stroke-width:1}.chart .axis{stroke:var(--mid);stroke-width:1;fill:none}"
    ".chart .bg{fill:var(--bg)}"
    ".chart polyline{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}"
    ".chart .reference polyline{stroke:var(--mid);stroke-width:1.5;stroke-dasharray:5 4}"
    ".chart .mark{fill:var(--c);stroke:var(--bg);stroke-width:1}"
    + "".join(f".chart .s{i}{{--c:{light}}}" for i, (light, _) in enumerate(COLORS))
    + "@media (prefers-color-scheme:dark){.chart{--fg:#e5e7eb;--mid:#a7b0bd;--grid:#364152;--bg:#111827}"
    + "".join(f".chart .s{i}{{--c:{dark}}}" for i, (_, dark) in enumerate(COLORS))
    + "}"
)

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A named line through points (x, y). A reference is drawn dashed, without points."""

    name: str
    points: list[Point]
    is_reference: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart of lines. `description` is the text for readers who do not see it."""

    title: str
    description: str
    x_label: str
    y_label: str
    lines: list[Line]
    is_log_x: bool = False
    is_log_y: bool = False


def draw(chart: Chart) -> str:
    """The chart as an SVG document. Points that a logarithmic axis cannot show are left out."""
    legend, top = _legend(chart.lines)
    xs, ys = ([point[axis] for line in chart.lines for point in _visible(chart, line)] for axis in (0, 1))
    x = Scale.around(xs, LEFT, WIDTH - RIGHT, is_log=chart.is_log_x)
    y = Scale.around(ys, HEIGHT - BOTTOM, top, is_log=chart.is_log_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(chart.title)}</title><desc>{escape(chart.description)}</desc><style>{STYLE}</style>",
        f'<rect class="bg" width="{WIDTH}" height="{HEIGHT}"/>',
        *legend,
        *_axes(chart, x, y, top),
        *(part for i, line in enumerate(chart.lines) for part in _line(chart, line, i, x, y)),
        "</svg>",
    ]
    return "\n".join(parts)


def _visible(chart: Chart, line: Line) -> list[Point]:
    return [
        (x, y)
        for x, y in line.points
        if math.isfinite(x) and math.isfinite(y) and (x > 0 or not chart.is_log_x) and (y > 0 or not chart.is_log_y)
    ]


def _legend(lines: list[Line]) -> tuple[list[str], float]:
    """The names of the lines in rows, and the top of the area below them."""
    parts, left, row = [], float(LEFT), 0
    for i, line in enumerate(lines):
        width = 40 + CHARACTER * len(line.name)
        if left + width > WIDTH and left > LEFT:
            left, row = float(LEFT), row + 1
        middle = 16 + LEGEND_ROW * row
        parts.append(
            f'<g class="{_style(line, i)}"><polyline points="{left:.1f},{middle} {left + 22:.1f},{middle}"/>'
            f"{'' if line.is_reference else _mark(i, left + 11, middle)}"
            f'<text x="{left + 28:.1f}" y="{middle + 4.5}">{escape(line.name)}</text></g>'
        )
        left += width
    return parts, 16.0 + LEGEND_ROW * (row + 1)


def _axes(chart: Chart, x: Scale, y: Scale, top: float) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in y.ticks():
        at = y(value)
        yield f'<path class="grid" d="M{LEFT} {at:.1f}H{right}"/>'
        yield f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{short_number(value)}</text>'
    for value in x.ticks():
        at = x(value)
        yield f'<path class="axis" d="M{at:.1f} {bottom}v5"/>'
        yield f'<text class="tick" x="{at:.1f}" y="{bottom + 19}" text-anchor="middle">{short_number(value)}</text>'
    middle = (top + bottom) / 2
    yield f'<path class="axis" d="M{LEFT} {top}V{bottom}H{right}"/>'
    yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(chart.x_label)}</text>'
    turned = f'transform="translate(18 {middle:.1f}) rotate(-90)"'
    yield f'<text {turned} text-anchor="middle">{escape(chart.y_label)}</text>'


def _line(chart: Chart, line: Line, index: int, x: Scale, y: Scale) -> Iterator[str]:
    points = _visible(chart, line)
    yield f'<g class="{_style(line, index)}">'
    if points:
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
        yield f'<polyline points="{path}"/>'
    for a, b in () if line.is_reference else points:
        label = escape(f"{line.name}: {short_number(b)} at {short_number(a)}")
        yield _mark(index, x(a), y(b), f"<title>{label}</title>")
    yield "</g>"


def _style(line: Line, index: int) -> str:
    return "reference" if line.is_reference else f"s{index % len(COLORS)}"


def _mark(index: int, x: float, y: float, inner: str = "") -> str:
    shape = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]
    return f'<path class="mark" transform="translate({x:.1f} {y:.1f})" d="{shape}">{inner}</path>'
