"""The page at /docs: complete in itself, and under a policy that allows nothing else."""

import base64
import contextlib
import hashlib
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from openbei.api.pages.docs_page import PAGE, POLICY

from ..conftest import Served, Start
from ..test_routes import MODELS, start_one


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
  constructor() { this.children = []; this.textContent = ""; this.value = ""; this.listeners = {}; }
  append(...children) { this.children.push(...children); }
  replaceChildren(...children) { this.children = children; }
  addEventListener(kind, listener) { this.listeners[kind] = listener; }
  all() { return [this, ...this.children.flatMap((child) => child.all())]; }
}
const fs = require("fs"), elements = {}, sent = [];
const description = fs.readFileSync("openapi.json", "utf8");
globalThis.document = {
  baseURI: process.argv[1] + "/docs",
  getElementById: (id) => elements[id] ??= new Element(),
  createElement: () => new Element(),
};
globalThis.fetch = async (url, options) => {
  if (options) sent.push({ url, ...options });
  return { status: 200, statusText: "OK", ok: true, text: async () => "{}", json: async () => JSON.parse(description) };
};
document.getElementById("key").value = process.argv[2] || "";
eval(fs.readFileSync("page.js", "utf8"));
setTimeout(() => {
  const shown = elements.routes.all();
  for (const { listeners } of shown) listeners.click?.();
  const texts = shown.map(({ textContent }) => textContent);
  const about = [elements.model.textContent, elements.about.textContent];
  setTimeout(() => console.log(JSON.stringify({ sent, texts, about })));
});
"""
"""As much of a browser as the page needs: it shows every route, and each route's button is clicked."""


def shown(served: Served, folder: Path, key: str = "") -> dict[str, Any]:
    """The page after every button was clicked: requests that it sent, its texts, and what it says of the model."""
    [script] = re.findall(r"<script>(.*?)</script>", PAGE.decode(), re.DOTALL)
    (folder / "page.js").write_text(script)
    (folder / "openapi.json").write_bytes(served.client.get("/openapi.json").content)
    command = ["node", "-e", BROWSER, served.url.rstrip("/"), key]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    page: dict[str, Any] = json.loads(done.stdout)
    return page


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node runs the script, and there is none")


@needs_node
def test_every_example_of_the_page_can_be_sent(served: Served, tmp_path: Path) -> None:
    sent = {(one["method"], one["url"]): one for one in shown(served, tmp_path, "mine")["sent"]}
    paths = served.client.get("/openapi.json").json()["paths"]
    assert len(sent) == sum(map(len, paths.values()))
    request = sent["POST", "v1/embeddings"]
    assert request["headers"]["authorization"] == "Bearer mine"
    assert served.client.post("/v1/embeddings", content=request["body"]).status_code == 200
    assert ("GET", "./") in sent


@needs_node
def test_the_model_and_the_groups(start: Start, tmp_path: Path) -> None:
    page = shown(start_one(start, "reranker"), tmp_path)
    assert page["about"][0] == "small"
    assert page["about"][1].startswith("Task: reranker. Served by openbei ")
    assert page["texts"].index("Reranking") < page["texts"].index("Embeddings (not with this model)")


@needs_node
@pytest.mark.parametrize("task", MODELS)
def test_the_snippets_run(start: Start, task: str, tmp_path: Path) -> None:
    """Each curl and each Python snippet is answered: 200 where the route applies, else 424."""
    served = start_one(start, task)
    texts = shown(served, tmp_path)["texts"]
    codes = [text for text in texts if text.startswith("import ")]
    curls = [text for text in texts if text.startswith("curl '")]
    assert len(codes) == len(curls) > 20
    for code in codes:
        if "import openai" in code and task != "embedding":
            continue  # the client raises for 424
        with contextlib.redirect_stdout(io.StringIO()) as written:
            exec(code, {})
        assert written.getvalue().split()[0] in ("200", "424", "8"), code
    script = "\n".join(f"{curl} -s -o /dev/null -w '%{{http_code}}\\n'" for curl in curls)
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, timeout=60)
    assert set(done.stdout.split()) <= {"200", "424"}


@needs_node
def test_snippets_with_a_key_do_not_show_it(served: Served, tmp_path: Path) -> None:
    text = "\n".join(shown(served, tmp_path, "mine")["texts"])
    assert "mine" not in text
    assert 'Bearer $OPENBEI_API_KEY"' in text
    assert 'os.environ["OPENBEI_API_KEY"]' in text
