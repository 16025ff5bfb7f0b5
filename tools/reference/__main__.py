"""Write the generated parts of docs/ from the code they describe.

python -m tools.reference
"""

from pathlib import Path

from tools.reference.pages import PAGES, updated


def main() -> None:
    """Rewrite what is stale, and name it."""
    for path in PAGES:
        page = Path(path)
        text = page.read_text()
        if (current := updated(text, PAGES[path])) != text:
            page.write_text(current)
            print(f"{path} updated")


if __name__ == "__main__":
    main()
