"""Every command and every piece of code in the documents runs as it is written, and prints what the page says."""

import re

import pytest

from tests.house.test_documents import DOCUMENTS, ROOT

from .sandbox import Sandbox
from .snippets import FENCE, Snippet, matches, snippets

PAGES = {path.relative_to(ROOT).as_posix(): list(snippets(path.read_text())) for path in DOCUMENTS}


@pytest.mark.parametrize("page", [page for page, found in PAGES.items() if found])
def test_snippets(page: str, sandbox: Sandbox) -> None:
    server = None
    for snippet in PAGES[page]:
        if snippet.server != server and snippet.server is not None:
            sandbox.use(snippet.server)
        server = snippet.server
        output = sandbox.run(snippet.language, snippet.code)
        if snippet.output is not None:
            assert matches(snippet.output, output), f"{snippet.code}\nprinted\n{output}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_in_blocks_that_run(page: str) -> None:
    """A block without a language is not run, so it must not hold a command."""
    for found in FENCE.finditer((ROOT / page).read_text()):
        if found["language"] == "":
            assert not re.search(r"^(bei|curl|pip|import) ", found["code"] or "", re.MULTILINE)


def test_directives() -> None:
    page = """
<!-- snippet: server=reranker -->
```bash
bei info
```
```text
machine
```
<!-- snippet: not run: REASON -->
```python
import nothing
```
```python
1
```
""".lstrip()
    first, second = snippets(page)
    assert first == Snippet("bash", "bei info\n", "reranker", "machine\n")
    assert second == Snippet("python", "1\n", "reranker", None)
    with pytest.raises(ValueError, match="unknown directive: other"):
        list(snippets("<!-- snippet: other -->"))


@pytest.mark.parametrize(
    ("expected", "actual", "is_match"),
    [
        ("a 1.5\nb", "a  2.75\nother\nb", True),
        ("… INFO ready on …", "2026-01-01 12:00:00,000 INFO ready on http://127.0.0.1:1", True),
        ("b\na", "a\nb", False),
        ("a", "ab", False),
    ],
)
def test_matches(expected: str, actual: str, is_match: bool) -> None:
    assert matches(expected, actual) is is_match
