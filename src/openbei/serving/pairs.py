"""Pairs of texts assembled from the tokens of each, so that a query is tokenized once for all its texts.

The tokenizers library normalizes and splits the two texts of a pair separately. Only its post-processor sees both; the
special tokens and token types that it adds do not depend on the texts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from openbei.serving.truncation import Truncation, split_room, truncate

Ids = NDArray[np.int32]


class Tokens(NamedTuple):
    """Token ids and token types, int32 [n] each."""

    ids: Ids
    types: Ids


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """Special tokens before, between and after two texts; `types` are the token types of the two texts."""

    before: Tokens
    between: Tokens
    after: Tokens
    types: tuple[int, int]

    def join(self, first: Ids, second: Ids, truncation: Truncation, param: str) -> tuple[Tokens, int]:
        """The tokens of a pair, at most `truncation.limit`, and their number before truncation.

        Raises the errors of `Truncation.check` for `param`.
        """
        num_special = len(self.before.ids) + len(self.between.ids) + len(self.after.ids)
        num_tokens = num_special + len(first) + len(second)
        truncation.check(num_tokens, param)
        if num_tokens > truncation.limit:
            num_first, num_second = split_room(len(first), len(second), max(0, truncation.limit - num_special))
            first = truncate(first, num_first, truncation.direction)
            second = truncate(second, num_second, truncation.direction)
        texts = (_of_type(ids, kind) for ids, kind in zip((first, second), self.types, strict=True))
        parts = (self.before, next(texts), self.between, next(texts), self.after)
        ids, types = (np.concatenate(columns)[: truncation.limit] for columns in zip(*parts, strict=True))
        return Tokens(ids, types), num_tokens


def _of_type(ids: Ids, kind: int) -> Tokens:
    return Tokens(ids, np.full(len(ids), kind, np.int32))


def pair_template(tokenizer: tokenizers.Tokenizer) -> PairTemplate | None:
    """The tokens that the post-processor adds to a pair; None if it does more than add tokens around the texts."""
    pair = tokenizer.encode("a", "b")
    spans = list(_spans(pair.sequence_ids))
    if [text for text, _, _ in spans] != [0, 1]:
        return None
    (_, start_0, stop_0), (_, start_1, stop_1) = spans
    texts = slice(start_0, stop_0), slice(start_1, stop_1)
    alone = [tokenizer.encode(text, add_special_tokens=False).ids for text in ("a", "b")]
    types = [set(pair.type_ids[text]) for text in texts]
    if [pair.ids[text] for text in texts] != alone or [len(kinds) for kinds in types] != [1, 1]:
        return None
    gaps = slice(0, start_0), slice(stop_0, start_1), slice(stop_1, None)
    before, between, after = (
        Tokens(np.array(pair.ids[gap], np.int32), np.array(pair.type_ids[gap], np.int32)) for gap in gaps
    )
    return PairTemplate(before, between, after, (types[0].pop(), types[1].pop()))


def _spans(sequence_ids: list[int | None]) -> Iterator[tuple[int, int, int]]:
    """Runs of tokens of one text: the text (0 or 1), start and stop."""
    for text, run in groupby(range(len(sequence_ids)), key=sequence_ids.__getitem__):
        if text is not None:
            positions = list(run)
            yield text, positions[0], positions[-1] + 1
