"""How much longer a tokenizer makes texts. Without a limit, a checkpoint could exhaust memory with one short text."""

import base64
import math
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from openbei.errors import CheckpointError

MAX_GROWTH = 100
"""Published tokenizers stay below 10."""

MAX_DECOMPOSITION = 18
"""The most characters into which Unicode's NFKD decomposes one (U+FDFA)."""

BUILT_IN = {"BertNormalizer": 3.0, "ByteLevel": 4.0}
"""Type of a step -> growth: spaces around Chinese characters, characters for bytes."""


def check_growth(tokenizer: Tokenizer, path: Path) -> None:
    """Raise CheckpointError if normalizer and pre-tokenizer can make a text more than MAX_GROWTH times longer."""
    parts = [part for part in (tokenizer.normalizer, tokenizer.pre_tokenizer) if part is not None]
    growth = math.prod(growth_of(msgspec.json.decode(part.__getstate__())) for part in parts)
    if growth > MAX_GROWTH:
        raise CheckpointError(
            f"{path}: its normalizer can make a text {growth:.3g} times longer; the limit is {MAX_GROWTH}"
        )


def growth_of(step: dict[str, Any]) -> float:
    """An upper bound of the growth of a normalizer or pre-tokenizer, given its JSON.

    Decomposition as in NFKD counts as 1, because a second one has no effect.
    """
    match step.get("type"):
        case "Sequence":
            steps: list[dict[str, Any]] = step.get("normalizers") or step.get("pretokenizers") or []
            return math.prod(map(growth_of, steps))
        case "Replace":
            return _replacement(step["pattern"], len(step["content"]))
        case "Prepend":
            return max(1.0, len(step["prepend"]))
        case "Precompiled":
            return max(1.0, _longest_replacement(step["precompiled_charsmap"]) / MAX_DECOMPOSITION)
        case kind:
            return BUILT_IN.get(str(kind), 1.0)


def _replacement(pattern: dict[str, str], length: int) -> float:
    """Growth by replacing a pattern by `length` characters. A regex may match between all characters."""
    if "String" in pattern:
        return max(1.0, length / max(len(pattern["String"]), 1))
    return 1.0 + length if length > 1 else 1.0


def _longest_replacement(charsmap: str) -> int:
    """Characters of the longest replacement in a map of sentencepiece: a trie after its size, then NUL-ended texts."""
    content = base64.b64decode(charsmap)
    texts = content[4 + int.from_bytes(content[:4], "little") :]
    return max(len(text.decode(errors="replace")) for text in texts.split(b"\0"))
