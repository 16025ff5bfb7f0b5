"""A thread-safe interface to the tokenizers library.

The library's object is never modified after loading, when truncation and padding are disabled. Texts are tokenized in
groups of limited size.
"""

import re
from collections.abc import Iterator
from collections.abc import Sequence as Items
from pathlib import Path

import msgspec
import numpy as np
import tokenizers
from numpy.typing import NDArray

from openbei.errors import EngineDirError, EngineError, InputError
from openbei.panics import panics_as
from openbei.serving import cancellation
from openbei.serving.pairs import Ids, pair_template
from openbei.serving.truncation import FIXED

Item = str | tuple[str, str]
"""A text or a pair of texts."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair."""

INLINE_CHARACTERS = 2_000
"""Below this size, tokenizing (about a millisecond) is faster than starting the library's threads."""

GROUP_CHARACTERS = 250_000
"""Texts are tokenized in groups of about this size, because the library needs 100 bytes or more per token."""


class Token(msgspec.Struct, frozen=True):
    """A token and its slice of the text, `start` to `stop` (exclusive) in code points.

    An added special token has no slice; its text is the vocabulary's.
    """

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Library:
    """A tokenizer.json, without truncation and padding. Raises EngineDirError for an invalid file.

    `marks_subwords` is whether the vocabulary marks tokens that continue a word. `opening_ids` and `closing_ids` are
    the special tokens at the start and end of every text, `special_ids` all special tokens. `pair_template` is the
    template of pairs, or None if pairs cannot be built from the tokens of each text.
    """

    def __init__(self, path: Path) -> None:
        with panics_as(EngineDirError, f"{path} is not a tokenizer"):
            self._load(path)

    def _load(self, path: Path) -> None:
        try:
            self._object = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise EngineDirError(f"{path} is not a tokenizer: {error}") from error
        self._object.no_padding()
        self._object.no_truncation()
        self._encode_batch_fast = getattr(self._object, "encode_batch_fast", self._object.encode_batch)
        self.marks_subwords = bool(getattr(self._object.model, "continuing_subword_prefix", None))
        self.opening_ids, self.closing_ids = self._find_special_ids()
        self.pair_template = pair_template(self._object)
        added = self._object.get_added_tokens_decoder()
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)

    def encodings(
        self,
        items: Items[Item],
        param: str,
        *,
        indices: Items[int] | None = None,
        has_offsets: bool = False,
        add_special_tokens: bool = True,
    ) -> Iterator[tokenizers.Encoding]:
        """Encode each item. Offsets count code points; without `has_offsets` they may be zeros.

        `indices` are the items' indices in the field `param`, for messages. Raises InputError for half a surrogate
        pair, EngineError if the library fails, and, between groups, WorkCancelledError. Releases the GIL.
        """
        with panics_as(EngineError, f"{param} cannot be tokenized"):
            try:
                yield from self._encodings(items, has_offsets, add_special_tokens)
            except (TypeError, UnicodeEncodeError) as error:
                index = next((i for i, item in enumerate(items) if _has_half(item)), 0)
                at = f"{param}[{indices[index] if indices else index}]"
                raise InputError(f"{at} has half a surrogate pair, which is not a character", param=at) from error

    def ids(self, texts: Items[str], param: str, indices: Items[int] | None = None) -> Iterator[Ids]:
        """The token ids of each text, without special tokens, int32 [n]. Raises what `encodings` raises."""
        for encoding in self.encodings(texts, param, indices=indices, add_special_tokens=False):
            yield np.array(encoding.ids, np.int32)

    def _encodings(
        self, items: Items[Item], has_offsets: bool, add_special_tokens: bool
    ) -> Iterator[tokenizers.Encoding]:
        encode_batch = self._object.encode_batch if has_offsets else self._encode_batch_fast
        for group in _groups(items):
            cancellation.check()
            if sum(map(num_characters, group)) > INLINE_CHARACTERS:
                yield from encode_batch(group, add_special_tokens=add_special_tokens)
                continue
            for item in group:  # starting the library's threads takes longer
                text, pair = (item, None) if isinstance(item, str) else item
                yield self._object.encode(text, pair, add_special_tokens=add_special_tokens)

    def token(self, token_id: int) -> str:
        """The string of a token id in the vocabulary, or ""."""
        return self._object.id_to_token(token_id) or ""

    def listed(self, text: str, encoding: tokenizers.Encoding) -> list[Token]:
        """The tokens of a text's encoding with offsets."""
        rows = zip(encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True)
        return [
            Token(token_id, self.token(token_id), True, None, None)
            if special
            else Token(token_id, text[start:stop], False, start, stop)
            for token_id, (start, stop), special in rows
        ]

    def decode(self, ids: list[list[int]], *, skip_special_tokens: bool) -> list[str]:
        """Decode token ids, which must be 0 to 2³² - 1. Raises EngineError if the library fails."""
        with panics_as(EngineError, "tokens cannot be decoded"):
            return self._object.decode_batch(ids, skip_special_tokens=skip_special_tokens)

    def _find_special_ids(self) -> tuple[list[int], list[int]]:
        encoding = self._object.encode("a")
        inner = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
        first, last = (inner[0], inner[-1] + 1) if inner else (len(encoding), len(encoding))
        return encoding.ids[:first], encoding.ids[last:]


def num_characters(item: Item) -> int:
    """The number of code points of a text, or of a pair."""
    return len(item) if isinstance(item, str) else len(item[0]) + len(item[1])


def text_parts(encoding: tokenizers.Encoding, start: int, stop: int) -> NDArray[np.intp]:
    """0 for tokens completely within the characters `start` to `stop`, FIXED for all others; int [n]."""
    first, last = np.array(encoding.offsets).T
    is_special = np.array(encoding.special_tokens_mask, bool)
    return np.where((first >= start) & (last <= stop) & ~is_special, 0, FIXED)


def _has_half(item: Item) -> bool:
    """Whether a text, or one of a pair, has half a surrogate pair."""
    return any(SURROGATE.search(text) for text in ([item] if isinstance(item, str) else item))


def _groups(items: Items[Item]) -> Iterator[list[Item]]:
    """Split a list into groups of about GROUP_CHARACTERS, in order."""
    group: list[Item] = []
    size = 0
    for item in items:
        group.append(item)
        size += num_characters(item)
        if size >= GROUP_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group
