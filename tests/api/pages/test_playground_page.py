"""The files of the web page: who gets them, under which policy, for how long; and that they need nothing else."""

import re
from pathlib import Path

import httpx
import pytest

from openbei.api.exchange.accept import prefers_html
from openbei.api.exchange.edge import Edge
from openbei.api.exchange.keys import Guard
from openbei.api.pages.playground_page import FOLDER, POLICY
from openbei.serving.fake_engine import FakeEngine

from ..conftest import Served, Start

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
FILES = sorted(FOLDER.iterdir())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
MAX_FILE_LINES = 120

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)


def names_in(html: str) -> list[str]:
    """The paths of the files that the HTML names."""
    return re.findall(r'(?:href|src)="(page/[^"]+)"', html)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        (BROWSER["accept"], True),
        ("text/html", True),
        ("TEXT/HTML;q=0.5", True),
        ("text/html;q=0", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html, application/json;q=0.9", True),
        ("text/html;q=nonsense", False),
        ("text/htmlx", False),
    ],
)
def test_which_clients_get_the_page(served: Served, accept: str | None, expected: bool) -> None:
    assert prefers_html(accept and accept.encode()) is expected
    headers = {} if accept is None else {"accept": accept}
    response = served.client.send(httpx.Request("GET", served.url, headers=headers))
    kind = "text/html; charset=utf-8" if expected else "application/json"
    assert (response.status_code, response.headers["content-type"]) == (200, kind)
    assert "accept" in response.headers["vary"]


def test_every_file_is_served_as_it_is_and_kept(served: Served) -> None:
    html = served.client.get("/", headers=BROWSER)
    assert html.headers["cache-control"] == "no-cache"
    [version] = {name.split("/")[1] for name in names_in(html.text)}
    assert html.text == (FOLDER / "index.html").read_text().replace("VERSION", version)
    for path in FILES:
        if path.suffix != ".html":
            response = served.client.get(f"/page/{version}/{path.name}")
            assert (response.status_code, response.content) == (200, path.read_bytes())
            assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert response.headers["x-content-type-options"] == "nosniff"
    assert served.client.get("/page/0123456789abcdef/app.js").status_code == 404
    assert served.client.head("/", headers=BROWSER).headers["content-length"] == html.headers["content-length"]


def test_the_version_changes_with_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openbei.api.pages import playground_page

    monkeypatch.setattr(playground_page, "FOLDER", tmp_path)
    versions = set()
    for html, name, content in (("a", "x.js", "b"), ("a", "x.js", "c"), ("a", "y.js", "c"), ("b", "y.js", "c")):
        for path in tmp_path.iterdir():
            path.unlink()
        (tmp_path / "index.html").write_text(html)
        (tmp_path / name).write_text(content)
        versions |= playground_page.read_playground().files.keys()
    assert len(versions) == 4


def test_it_needs_no_key_and_everything_else_does(start: Start) -> None:
    served = start(FakeEngine(), edge=Edge(guard=Guard(["key"], guards_health=True)))
    html = served.client.get("/", headers=BROWSER)
    assert html.status_code == 200
    assert "small" not in html.text
    for name in names_in(html.text):
        assert served.client.get(f"/{name}").status_code == 200
    for path in ("/", "/info", "/metrics", "/v1/models", "/page/other"):
        assert served.client.get(path).status_code == 401


def test_switched_off(start: Start) -> None:
    served = start(FakeEngine(), edge=Edge(has_page=False))
    response = served.client.get("/", headers=BROWSER)
    assert response.json()["name"] == "openbei"
    assert "GET /page" not in response.text


def test_the_policy_allows_only_the_server(served: Served) -> None:
    headers = served.client.get("/", headers=BROWSER).headers
    assert headers["content-security-policy"] == POLICY
    directives = {part.split(" ", 1)[0]: part.split(" ", 1)[1] for part in POLICY.split("; ")}
    assert directives["default-src"] == "'none'"
    assert {value for name, value in directives.items() if name.endswith("-src")} == {"'none'", "'self'"}
    assert "unsafe" not in POLICY


def test_all_files_have_one_label_in_the_metrics(served: Served) -> None:
    before = served.value("openbei_http_requests_total", route="/page", status="200")
    names = names_in(served.client.get("/", headers=BROWSER).text)
    for name in names:
        served.client.get(f"/{name}")
    assert served.value("openbei_http_requests_total", route="/page", status="200") == before + len(names)


@every_file
def test_a_file_is_small_and_needs_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    assert not re.search(r"https?:|@import|url\(", text.replace("http://www.w3.org/2000/svg", ""))
    if path.suffix == ".html":
        assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_lives_there_and_never_parses_html(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("// ")
    assert not re.search(r"(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|DOMParser", text)


def test_every_script_is_imported_and_every_import_exists() -> None:
    imports = {name for path in SCRIPTS for name in re.findall(r'from "\./([\w.]+)"', path.read_text())}
    html = (FOLDER / "index.html").read_text()
    assert imports | {Path(name).name for name in names_in(html)} == {path.name for path in FILES} - {"index.html"}
