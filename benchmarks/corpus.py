"""English texts of any length in tokens: excerpts of Python's language reference, which is part of Python itself.

Nothing is downloaded. The same seed gives the same texts.
"""

import re
from functools import cached_property
from pydoc_data import topics

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from openbei.cli.bench import mixed_lengths

Lengths = NDArray[np.int64]


def prose() -> str:
    """The paragraphs of the reference that are prose, without code, grammar and tables."""
    kept = []
    for topic in sorted(topics.topics):
        for paragraph in re.split(r"\n\s*\n", topics.topics[topic]):
            text = " ".join(paragraph.replace("*", "").replace("`", "").split())
            letters = sum(c.isalpha() or c.isspace() for c in text)
            if len(text) > 80 and text[0].isupper() and text.endswith(".") and letters > 0.9 * len(text):
                kept.append(text)
    return " ".join(kept)


class Corpus:
    """Texts with an exact number of tokens, including special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()

    @cached_property
    def _words(self) -> tuple[str, Lengths, Lengths, Lengths]:
        """The prose, and for each word its start and end in characters and the number of tokens before it."""
        text = prose()
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        words = np.array([-1 if w is None else w for w in encoding.word_ids])
        first = np.flatnonzero(np.diff(words, prepend=-1))
        offsets = np.array(encoding.offsets)
        ends = offsets[np.append(first[1:], len(words)) - 1, 1]
        return text, offsets[first, 0], ends, np.append(first, len(words))

    def texts(self, lengths: Lengths, seed: int) -> list[str]:
        """A random excerpt for each length in tokens (≥ 3), cut at word boundaries."""
        text, starts, ends, tokens_before = self._words
        rng = np.random.default_rng(seed)
        num_special = self.tokenizer.num_special_tokens_to_add(False)
        chosen = []
        for length in lengths:
            last = 0
            while not last:
                word = int(rng.integers(len(starts)))
                end = int(np.searchsorted(tokens_before, tokens_before[word] + length - num_special))
                if end < len(tokens_before) and tokens_before[end] - tokens_before[word] == length - num_special:
                    last = end
            chosen.append(text[starts[word] : ends[last - 1]])
        return chosen

    def short(self, num_texts: int, seed: int = 1) -> list[str]:
        """Queries: about 17 tokens."""
        return self.texts(np.random.default_rng(seed).normal(17, 4, num_texts).clip(6, 32).astype(int), seed)

    def mixed(self, num_texts: int, seed: int = 2) -> list[str]:
        """Typical documents: 10 to 300 tokens, 90 on average; most are shorter than the average."""
        return self.texts(np.array(mixed_lengths(num_texts, seed)), seed)

    def long(self, num_texts: int, seed: int = 3) -> list[str]:
        """Passages: 512 tokens."""
        return self.texts(np.full(num_texts, 512), seed)

    def every_length(self, num_texts: int = 500, seed: int = 4) -> list[str]:
        """Evenly spaced lengths from 3 to 512 tokens, including the special tokens."""
        return self.texts(np.linspace(3, 512, num_texts).astype(int), seed)
