"""A YAML file of a user as a mapping; equal keys, files without end and aliases that explode are refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openbei.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_NODES, MAX_DEPTH = 100_000, 50
"""Keys, values and items, aliases counted as often as they are used; and how deep they may be nested."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Raises ConfigError, naming the file, for one that cannot be read or that holds no mapping."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8: {error}", hint="save it as UTF-8") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES:,} bytes, the limit of a config")
    return _parse(text, path)


def _parse(text: str, path: Path) -> dict[str, Any]:
    import yaml  # a server started from an engine directory needs no YAML

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path} holds no mapping", hint="a config.yaml begins with trt_llm:, among others")
        for count, (_, depth) in enumerate(_nodes(node, path)):
            if count >= MAX_NODES or depth > MAX_DEPTH:
                what = f"more than {MAX_NODES:,} values" if count >= MAX_NODES else f"more than {MAX_DEPTH} levels"
                raise ConfigError(f"{path} has {what}, aliases (*name) written out", hint="write values, not aliases")
        return dict(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path} is nested too deep: more than {MAX_DEPTH} levels") from None
    except (ValueError, OverflowError) as error:  # such as a date that is none
        raise ConfigError(f"{path} has a value that is none: {error}") from error
    finally:
        loader.dispose()


def _nodes(root: Any, path: Path) -> Iterator[tuple[Any, int]]:  # noqa: ANN401
    """Every node with its depth, level by level. Raises ConfigError for equal keys, of which PyYAML keeps the last."""
    import yaml

    waiting = [(root, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        if isinstance(node, yaml.MappingNode):
            _refuse_duplicates(node, path)
            waiting += [(child, depth + 1) for pair in reversed(node.value) for child in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            waiting += [(child, depth + 1) for child in reversed(node.value)]


def _refuse_duplicates(node: Any, path: Path) -> None:  # noqa: ANN401
    import yaml

    seen = set()
    for key, _ in node.value:
        if (name := key.value if isinstance(key, yaml.ScalarNode) else None) in seen and name is not None:
            raise ConfigError(f"{path} line {key.start_mark.line + 1}: the key {name} is there twice")
        seen.add(name)
