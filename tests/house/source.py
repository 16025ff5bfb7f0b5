"""The package as syntax trees, and the files of the project: what the house tests look at. No checks here."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "openbei"


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path

    @property
    def name(self) -> str:
        """Path without suffix from the package, for test ids: `serving/packing`."""
        return self.path.relative_to(PACKAGE).with_suffix("").as_posix()

    @property
    def part(self) -> str:
        """The part of the house it is in: a file or folder directly under the package."""
        return self.name.split("/")[0]

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.path.read_text())

    def imports(self) -> Iterator[str]:
        """Every module named by an import, function-local ones included, in dotted absolute form.

        `from a import b` gives `a.b` too, since b may be a module.
        """
        package = ["openbei", *self.name.split("/")[:-1]]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                yield source
                yield from (f"{source}.{alias.name}" for alias in node.names)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method."""
        yield from (n for n in ast.walk(self.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


MODULES = [Module(path) for path in sorted(PACKAGE.rglob("*.py"))]
