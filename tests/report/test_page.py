"""The page: self-contained, and its tables have what the charts show."""

from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from openbei.report.page import Report, Section, Table, file_name
from openbei.report.svg import Chart, Line

CHART = Chart(
    title="Speed of <m> & co.",
    description="rises",
    x_label="x",
    y_label="y",
    lines=[Line("a", [(1.0, 2.0), (2.0, 3.0)])],
)
TABLE = Table(["name", "value"], [["a & b", "1"], ["c", "2,000"]])
REPORT = Report("A <title>", [("CPU", "x < y")], [Section("Speed", TABLE, [CHART], ["Some <b> text."])])


class Tags(HTMLParser):
    """The elements of a page with their attributes, and its texts. Fails on elements that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = Tags(REPORT.html())
    assert not {tag for tag, _ in page.found} & {"script", "link", "img", "iframe", "object", "embed", "a"}
    attributes = {name for _, attributes in page.found for name in attributes}
    assert not {name for name in attributes if name.startswith("on") or name in ("src", "href", "style")}
    assert "url(" not in REPORT.html()
    assert "@import" not in REPORT.html()


def test_texts_and_table() -> None:
    page = Tags(REPORT.html())
    assert {"A <title>", "x < y", "Some <b> text.", "a & b", "2,000"} <= set(page.texts)
    scopes = [attributes["scope"] for tag, attributes in page.found if tag == "th"]
    assert scopes == ["col", "col", "row", "row"]
    assert ("html", {"lang": "en"}) in page.found
    assert "prefers-color-scheme:dark" in REPORT.html()


def test_files(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "out.html")
    assert (tmp_path / "out.html").read_text("utf-8") == REPORT.html()
    REPORT.write_figures(tmp_path / "new" / "figures")
    [figure] = (tmp_path / "new" / "figures").iterdir()
    assert figure.name == "speed-of-m-co.svg"
    assert ElementTree.parse(figure).getroot().tag.endswith("}svg")


def test_table_for_a_terminal() -> None:
    assert TABLE.text() == "name   value\na & b      1\nc      2,000"


def test_file_names() -> None:
    assert file_name("../A/b: 99th (é)") == "a-b-99th-é"
