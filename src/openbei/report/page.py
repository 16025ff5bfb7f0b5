"""A report: sections with charts and tables, as text for a terminal and as one HTML page without scripts."""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from openbei.report.svg import Chart, draw

STYLE = """\
:root{color-scheme:light dark;--fg:#1f2937;--mid:#4b5563;--line:#d8dde4;--bg:#fff}
@media (prefers-color-scheme:dark){:root{--fg:#e5e7eb;--mid:#a7b0bd;--line:#364152;--bg:#111827}}
body{max-width:60rem;margin:0 auto;padding:1rem;background:var(--bg);color:var(--fg)}
body{font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.2rem;margin:2.5rem 0 .5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{color:var(--mid)}
dd{margin:0;overflow-wrap:anywhere}
figure{margin:1rem 0}.scroll{overflow-x:auto}svg{display:block;width:100%;min-width:42rem;height:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}thead th{vertical-align:bottom;color:var(--mid);font-weight:600}
tbody th{font-weight:400}p{max-width:45rem}
"""


@dataclass(frozen=True)
class Table:
    """A table; the first column names the rows."""

    columns: list[str]
    rows: list[list[str]]

    def text(self) -> str:
        """The table for a terminal: columns two spaces apart, numbers aligned to the right."""
        cells = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        lines = []
        for row in cells:
            numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
            lines.append("  ".join([row[0].ljust(widths[0]), *numbers]))
        return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True)
class Section:
    """A heading, some paragraphs, charts, and the table of their numbers."""

    heading: str
    table: Table
    charts: list[Chart] = field(default_factory=list)
    paragraphs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """A title, facts about the measurement, and sections."""

    title: str
    facts: list[tuple[str, str]]
    sections: list[Section]

    def write(self, path: Path) -> None:
        """Write the page. Raises OSError."""
        path.write_text(self.html(), "utf-8")

    def write_figures(self, folder: Path) -> None:
        """Write each chart as an SVG file in a folder, named by its title. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        for section in self.sections:
            for chart in section.charts:
                (folder / f"{file_name(chart.title)}.svg").write_text(draw(chart), "utf-8")

    def html(self) -> str:
        """One HTML page that loads nothing."""
        facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in self.facts)
        parts = [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style></head>",
            f"<body><main><h1>{escape(self.title)}</h1>\n<dl>{facts}</dl>",
            *map(_section, self.sections),
            "</main></body></html>\n",
        ]
        return "\n".join(parts)


def file_name(title: str) -> str:
    """A title in lower case, with hyphens between its words."""
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def _section(section: Section) -> str:
    figures = (
        f'<figure><figcaption><b>{escape(chart.title)}</b></figcaption><div class="scroll" tabindex="0">'
        f"{draw(chart)}</div></figure>"
        for chart in section.charts
    )
    paragraphs = (f"<p>{escape(text)}</p>" for text in section.paragraphs)
    parts = [f"<section><h2>{escape(section.heading)}</h2>", *paragraphs, *figures, _table(section), "</section>"]
    return "\n".join(parts)


def _table(section: Section) -> str:
    columns = "".join(f'<th scope="col">{escape(name)}</th>' for name in section.table.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in section.table.rows
    )
    label = f'aria-label="{escape(section.heading)}"'
    return (
        f'<div class="scroll" tabindex="0" role="region" {label}>'
        f"<table {label}><thead><tr>{columns}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )
