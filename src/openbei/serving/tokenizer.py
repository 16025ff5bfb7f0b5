"""Text and token ids to sequences. Truncation is decided here; batching is not."""

import asyncio
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tokenizers

from openbei.batch import Sequence
from openbei.engine_dir import EngineDir
from openbei.errors import EngineDirError, InputError

INLINE_CHARACTERS = 2_000
"""Up to here tokenizing (about a millisecond) is cheaper than waiting for a thread."""

CHARACTERS_PER_TOKEN = 250
"""Text beyond this many characters for each token the model reads is never looked at, as in TEI."""

GROUP_CHARACTERS = 250_000
"""Texts are tokenized in groups of about this size: the library holds 100 bytes and more for each token."""


class Tokenizer:
    """The model's tokenizer with the model's limit; what its file says about truncation and padding is dropped."""

    def __init__(self, path: Path, max_sequence_tokens: int, vocab_size: int) -> None:
        try:
            self._backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise EngineDirError(f"{path} is not a tokenizer: {error}") from error
        self.max_sequence_tokens = max_sequence_tokens
        self.vocab_size = vocab_size
        self._backend.no_padding()
        self._backend.enable_truncation(max_sequence_tokens)
        self._encode_batch = getattr(self._backend, "encode_batch_fast", self._backend.encode_batch)
        self._num_special_tokens = self._backend.num_special_tokens_to_add(is_pair=False)
        self._closing_ids = self._find_closing_ids()

    @classmethod
    def open(cls, engine_dir: EngineDir) -> "Tokenizer":
        """The tokenizer of an engine directory. Raises EngineDirError."""
        manifest = engine_dir.manifest
        return cls(engine_dir.tokenizer_path, manifest.max_sequence_tokens, manifest.spec.vocab_size)

    def encode(self, texts: list[str], *, truncate: bool = True) -> list[Sequence]:
        """Tokenize texts, special tokens included, each cut to `max_sequence_tokens`.

        `num_tokens_given` counts the whole text, or its first 250 · `max_sequence_tokens` characters if it is longer.
        With `truncate=False` a text that is too long raises InputError. The GIL is free while the library works.
        """
        max_characters = CHARACTERS_PER_TOKEN * self.max_sequence_tokens
        sequences: list[Sequence] = []
        for group in _groups([text[:max_characters] for text in texts]):
            sequences += map(self._sequence, self._encode_group(group))
        return [self._checked(sequence, truncate, f"input[{i}]") for i, sequence in enumerate(sequences)]

    async def encode_async(self, texts: list[str], *, truncate: bool = True) -> list[Sequence]:
        """`encode` without holding up the event loop: short texts at once, long ones in a thread."""
        if _is_short(texts):
            return self.encode(texts, truncate=truncate)
        return await asyncio.to_thread(self.encode, texts, truncate=truncate)

    def from_ids(self, ids: list[int], *, truncate: bool = True, param: str = "input") -> Sequence:
        """Take token ids as they are: nothing is added, and the special tokens that close a cut input are kept.

        Raises InputError, naming `param`, for an empty list or an id outside the vocabulary.
        """
        if ids and not (min(ids) >= 0 and max(ids) < self.vocab_size):
            index = next(i for i, token_id in enumerate(ids) if not 0 <= token_id < self.vocab_size)
            param = f"{param}[{index}]"
            raise InputError(f"{param} is {ids[index]}, token ids are 0 to {self.vocab_size - 1}", param=param)
        kept = ids[: self.max_sequence_tokens]
        closing = self._closing_ids
        if len(ids) > len(kept) and closing and ids[-len(closing) :] == closing:
            kept[-len(closing) :] = closing
        return self._checked(Sequence(np.array(kept, np.int32), len(ids)), truncate, param)

    def _encode_group(self, texts: list[str]) -> Iterable[tokenizers.Encoding]:
        try:
            if _is_short(texts):  # waking the library's threads takes longer
                return [self._backend.encode(text) for text in texts]
            return self._encode_batch(texts)
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError("a text has half a surrogate pair, which is no character", param="input") from error

    def _sequence(self, encoding: tokenizers.Encoding) -> Sequence:
        ids = np.array(encoding.ids, np.int32)
        num_tokens_cut = sum(len(part) - self._num_special_tokens for part in encoding.overflowing)
        return Sequence(ids, len(ids) + num_tokens_cut)

    def _checked(self, sequence: Sequence, truncate: bool, param: str) -> Sequence:
        if sequence.num_tokens == 0:
            raise InputError(f"{param} has no tokens", param=param)
        if sequence.is_truncated and not truncate:
            raise InputError(
                f"{param} has {sequence.num_tokens_given} tokens, the limit is {self.max_sequence_tokens}",
                param=param,
                hint="shorten it, or let it be truncated",
            )
        return sequence

    def _find_closing_ids(self) -> list[int]:
        """Special tokens that end every text."""
        encoding = self._backend.encode("a")
        num_before = max((i + 1 for i, special in enumerate(encoding.special_tokens_mask) if not special), default=0)
        return encoding.ids[num_before:]


def _is_short(texts: list[str]) -> bool:
    return sum(map(len, texts)) <= INLINE_CHARACTERS


def _groups(texts: list[str]) -> Iterator[list[str]]:
    """Cut a list into runs of about GROUP_CHARACTERS, order kept."""
    group: list[str] = []
    num_characters = 0
    for text in texts:
        group.append(text)
        num_characters += len(text)
        if num_characters >= GROUP_CHARACTERS:
            yield group
            group, num_characters = [], 0
    if group:
        yield group
