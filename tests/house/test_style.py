"""What a file of the package may look like: docstring, size, annotations, words, state."""

import ast
import re
import statistics

import pytest

from openbei.families import FAMILIES

from .source import MODULES, PACKAGE, ROOT, Module

MAX_FILE_LINES, MAX_MEDIAN_FILE_LINES = 350, 130
MAX_FUNCTION_LINES, MAX_FUNCTION_LINES_P90 = 60, 30
MAX_FAMILY_LINES = 150  # a spec with one field per line; a lower limit led to packed code

every_module = pytest.mark.parametrize("module", MODULES, ids=lambda m: m.name)


def num_lines(module: Module) -> int:
    return len(module.path.read_text().splitlines())


def function_lines(module: Module) -> dict[str, int]:
    return {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in module.functions()}


@every_module
def test_docstring_says_what_lives_here(module: Module) -> None:
    assert ast.get_docstring(module.tree)


@every_module
def test_sizes(module: Module) -> None:
    assert num_lines(module) <= MAX_FILE_LINES
    assert {name: n for name, n in function_lines(module).items() if n > MAX_FUNCTION_LINES} == {}


def test_most_are_small() -> None:
    assert statistics.median(map(num_lines, MODULES)) <= MAX_MEDIAN_FILE_LINES
    functions = [n for module in MODULES for n in function_lines(module).values()]
    assert statistics.quantiles(functions, n=10)[-1] <= MAX_FUNCTION_LINES_P90


def test_a_family_is_data() -> None:
    files = [m for m in MODULES if f"openbei.{m.name.replace('/', '.')}" in FAMILIES.values()]
    assert files
    assert [m.name for m in files if num_lines(m) > MAX_FAMILY_LINES] == []


@every_module
def test_everything_is_annotated(module: Module) -> None:
    for function in module.functions():
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        bare = [a.arg for a in named if a and a.annotation is None and a.arg not in ("self", "cls")]
        assert not bare, f"{function.name}: {bare}"
        assert function.returns is not None, function.name


@every_module
def test_environment_is_read_in_config_only(module: Module) -> None:
    """Elsewhere it may only be handed over, whole, where a TARGET is resolved."""
    code = ast.unparse(module.tree)
    if module.name == "targets":
        code = code.replace("Environment.read(os.environ,", "")
    assert module.name == "config" or not re.search(r"\b(environ|environb|getenv)\b", code)


@every_module
def test_no_mutable_state_in_modules(module: Module) -> None:
    """Nothing rebinds a module's name from inside a function, and no module keeps an empty container to fill."""
    assert not [n for n in ast.walk(module.tree) if isinstance(n, ast.Global)]
    for node in module.tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        assert not (isinstance(value, ast.List | ast.Dict) and not ast.unparse(value).strip("[]{}")), ast.unparse(node)


@every_module
def test_words(module: Module) -> None:
    assert not set(module.name.split("/")) & {"utils", "helpers", "common", "manager", "misc"}
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b|trust_remote_code=True|shell=True", module.path.read_text())
    calls = {n.func.id for n in ast.walk(module.tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not calls & {"eval", "exec", "print", "breakpoint"}


def test_every_python_file_has_a_docstring() -> None:
    files = [p for part in ("tests", "benchmarks", "examples", "tools") for p in (ROOT / part).rglob("*.py")]
    bare = [p for p in files if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))]
    assert not bare


def test_native_files_say_what_lives_there() -> None:
    files = [p for p in (ROOT / "native").rglob("*") if p.suffix in (".cpp", ".hpp")]
    assert [p.name for p in files if not p.read_text().startswith("//")] == []
    assert [p.name for p in files if len(p.read_text().splitlines()) > MAX_FILE_LINES] == []
    assert PACKAGE.is_dir()


def test_intrinsics_stay_in_isa() -> None:
    files = [p for p in (ROOT / "native").rglob("*.[ch]pp") if p.parent.name != "isa"]
    outside = [p for p in files if re.search(r"\b_(mm|tile)|intrin\.h", p.read_text())]
    assert outside == []
