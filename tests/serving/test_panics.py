"""A panic of the tokenizers library, which no `except Exception` catches, is one of the package's errors."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from openbei.build.tokenizer_file import read_tokenizer
from openbei.errors import CheckpointError, EngineDirError, EngineError
from openbei.panics import panics_as
from openbei.serving.library import Library

UNREADABLE, EMPTY = b"", bytes(4)
FOR_SOME = (400).to_bytes(4, "little") + bytes(400)
"""A table of 100 units: the byte of "a" is within it, that of "z" beyond."""


def with_charsmap(source: Path, folder: Path, charsmap: bytes) -> Path:
    content: dict[str, Any] = json.loads(source.read_text())
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("charsmap", [UNREADABLE, EMPTY], ids=["unreadable", "empty"])
def test_at_build_and_load(charsmap: bytes, tokenizer_json: Path, tmp_path: Path) -> None:
    path = with_charsmap(tokenizer_json, tmp_path, charsmap)
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.json is not a valid tokenizer: the tokenizers library failed"
    ):
        read_tokenizer(tmp_path)
    with pytest.raises(EngineDirError, match=r"tokenizer\.json is not a tokenizer: the tokenizers library failed"):
        Library(path)


@pytest.mark.parametrize("has_offsets", [False, True])
@pytest.mark.parametrize("text", ["z", "z" * 3000], ids=["short", "long"])
def test_at_a_request(text: str, has_offsets: bool, tokenizer_json: Path, tmp_path: Path) -> None:
    library = Library(with_charsmap(tokenizer_json, tmp_path, FOR_SOME))
    with pytest.raises(EngineError, match="input cannot be tokenized: the tokenizers library failed"):
        list(library.encodings(["a", text], "input", has_offsets=has_offsets))
    assert len(list(library.encodings(["a", "a"], "input", has_offsets=has_offsets))) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError, GeneratorExit])
def test_all_else_passes(error: type[BaseException]) -> None:
    with pytest.raises(error), panics_as(EngineError, "it"):
        raise error
