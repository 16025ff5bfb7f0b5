"""The page at /docs: complete in itself, and under a policy that allows nothing else."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from openbei.api.pages.docs_page import PAGE, POLICY

from ..conftest import Served


def test_the_page(served: Served) -> None:
    response = served.client.get("/docs")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"] == POLICY
    assert response.content == PAGE


def test_it_needs_nothing_from_elsewhere() -> None:
    text = PAGE.decode()
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<link|<img|<iframe", text.replace("// not JSON", ""))
    assert not re.search(r"<script [^>]*src|\son\w+=|style=|innerHTML|eval\(", text)


def test_the_policy_allows_its_own_script_and_style_and_no_other() -> None:
    directives = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert directives["default-src"] == "'none'"
    for tag in ("script", "style"):
        [text] = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert directives[f"{tag}-src"] == f"'sha256-{digest}'"


BROWSER = """
class Element {
  constructor() { this.children = []; this.textContent = ""; this.value = ""; }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  addEventListener(_, click) { this.click = click; }
  find(wanted) { return this.click === undefined ? this.children.flatMap((child) => child.find(wanted)) : [this]; }
}
const fs = require("fs"), elements = {}, sent = [];
const description = fs.readFileSync("openapi.json", "utf8");
globalThis.document = { getElementById: (id) => elements[id] ??= new Element(), createElement: () => new Element() };
globalThis.fetch = async (url, options) => {
  if (options) sent.push({ url, ...options });
  return { status: 200, statusText: "OK", ok: true, text: async () => "{}", json: async () => JSON.parse(description) };
};
document.getElementById("key").value = "mine";
eval(fs.readFileSync("page.js", "utf8"));
setTimeout(() => {
  for (const button of elements.routes.find()) button.click();
  setTimeout(() => console.log(JSON.stringify(sent)));
});
"""
"""As much of a browser as the page needs: it shows every route, and each route's button is clicked."""


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the script, and there is none")
def test_every_example_of_the_page_can_be_sent(served: Served, tmp_path: Path) -> None:
    [script] = re.findall(r"<script>(.*?)</script>", PAGE.decode(), re.DOTALL)
    description = served.client.get("/openapi.json")
    (tmp_path / "page.js").write_text(script)
    (tmp_path / "openapi.json").write_bytes(description.content)
    done = subprocess.run(["node", "-e", BROWSER], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    sent = {(one["method"], one["url"]): one for one in json.loads(done.stdout)}
    paths = description.json()["paths"]
    assert len(sent) == sum(map(len, paths.values()))
    request = sent["POST", "v1/embeddings"]
    assert request["headers"]["authorization"] == "Bearer mine"
    assert served.client.post("/v1/embeddings", content=request["body"]).status_code == 200
    assert ("GET", "./") in sent
