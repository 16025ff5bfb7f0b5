"""Safe reading of YAML files: duplicate keys, oversized files and exponential aliases are refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from openbei.errors import ConfigError

MAX_BYTES = 1 << 20
MAX_NODES, MAX_DEPTH = 100_000, 50
"""Limits after expansion of aliases: the number of keys, values and items, and the nesting depth."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping. Raises ConfigError, naming the file."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} cannot be read: it is not UTF-8: {error}", hint="save it as UTF-8") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path} is larger than the limit of {MAX_BYTES:,} bytes")
    return _parse(text, path)


def _parse(text: str, path: Path) -> dict[str, Any]:
    import yaml  # not needed by a server started from an engine directory

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path} is not a mapping", hint="a config.yaml has the top-level key trt_llm")
        for count, (_, depth) in enumerate(_nodes(node, path)):
            if count >= MAX_NODES or depth > MAX_DEPTH:
                excess = f"more than {MAX_NODES:,} values" if count >= MAX_NODES else f"more than {MAX_DEPTH} levels"
                raise ConfigError(f"{path} has {excess} after expansion of aliases", hint="write values, not aliases")
        return dict(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path} has more than {MAX_DEPTH} levels") from None
    except (ValueError, OverflowError) as error:  # such as an invalid date
        raise ConfigError(f"{path} has an invalid value: {error}") from error
    finally:
        loader.dispose()


def _nodes(root: Any, path: Path) -> Iterator[tuple[Any, int]]:  # noqa: ANN401
    """All nodes with their depth, in order of the file. Raises ConfigError for duplicate keys, which PyYAML accepts."""
    import yaml

    stack = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        yield node, depth
        if isinstance(node, yaml.MappingNode):
            _refuse_duplicates(node, path)
            stack += [(child, depth + 1) for pair in reversed(node.value) for child in reversed(pair)]
        elif isinstance(node, yaml.SequenceNode):
            stack += [(child, depth + 1) for child in reversed(node.value)]


def _refuse_duplicates(node: Any, path: Path) -> None:  # noqa: ANN401
    import yaml

    seen = set()
    for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
        if key.value in seen:
            raise ConfigError(f"{path} line {key.start_mark.line + 1}: duplicate key {key.value}")
        seen.add(key.value)
