"""Post-processing for token classification: logits to entities, one per token or aggregated to spans.

Entities and scores match transformers' TokenClassificationPipeline; `ignored` is its `ignore_labels`.
"""

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from openbei.batch import Sequence, Vectors
from openbei.tasks.classify import softmax
from openbei.tasks.finite import check_finite

Strategy = Literal["none", "simple", "first", "average", "max"]
"""How tokens are aggregated to entities.

none: each token is an entity. simple: adjacent tokens with the same label are an entity. The others first assign one
label to all tokens of a word: that of its first token, of the mean probabilities, or of the most confident token.
"""

IGNORED = ("O",)
"""Labels of tokens outside entities."""


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text and its tokens after truncation.

    `tokens` are the vocabulary's strings. `offsets` are start and end (exclusive) in code points of `text`, or (0, 0)
    for added special tokens. `is_special` is true for added special tokens, but not for those spelled out in the text.
    `marks_subwords` says whether the vocabulary marks tokens that continue a word, like WordPiece's ##.
    """

    text: str
    sequence: Sequence
    tokens: list[str]
    offsets: list[tuple[int, int]]
    is_special: list[bool]
    marks_subwords: bool
    unk_token_id: int | None = None


class Entity(msgspec.Struct, frozen=True):
    """A token or span, `start` to `end` (exclusive) in code points of the text, and its scores by label."""

    token: str
    token_id: int
    start: int
    end: int
    results: dict[str, float]

    @property
    def label(self) -> str:
        """The label with the highest score."""
        return max(self.results, key=self.results.__getitem__)

    @property
    def score(self) -> float:
        """The highest score."""
        return max(self.results.values())


@dataclass(frozen=True, slots=True)
class _Word:
    """A word, `start` to `end` in code points of the text, with its label and score."""

    start: int
    end: int
    label: str
    score: float


def entities(
    text: TokenizedText,
    logits: Vectors,
    labels: Items[str],
    strategy: Strategy,
    *,
    raw_scores: bool,
    ignored: Collection[str] = IGNORED,
) -> list[Entity]:
    """The entities of a text, in order; `logits` is float32 [num_tokens, num_labels].

    With `none` every token is an entity, special tokens included, with its best label and probability, or with
    `raw_scores` the logits of all labels. Otherwise `token` is a slice of the text, `token_id` is 0, the label has no
    B- or I- prefix, and labels in `ignored` are omitted; `raw_scores` averages logits instead of probabilities.
    Raises EngineError if a logit is not finite.
    """
    check_finite(logits)
    probabilities = softmax(logits)
    if strategy == "none":
        results = _all_logits(logits, labels) if raw_scores else _best_label(probabilities, labels)
        rows = zip(text.tokens, text.sequence.token_ids.tolist(), text.offsets, results, strict=True)
        return [Entity(token, token_id, *offsets, scores) for token, token_id, offsets, scores in rows]
    rows_of_words = _rows_of_words(text, merge_subwords=strategy != "simple")
    words = _label_words(text, rows_of_words, probabilities, logits if raw_scores else probabilities, labels, strategy)
    return [_span(text.text, group) for group in _group_words(words) if _group_label(group) not in ignored]


def _all_logits(logits: Vectors, labels: Items[str]) -> Iterator[dict[str, float]]:
    return (dict(zip(labels, row, strict=True)) for row in logits.tolist())


def _best_label(probabilities: Vectors, labels: Items[str]) -> Iterator[dict[str, float]]:
    best = probabilities.argmax(axis=1).tolist()
    return ({labels[i]: p} for i, p in zip(best, probabilities.max(axis=1).tolist(), strict=True))


def _rows_of_words(text: TokenizedText, *, merge_subwords: bool) -> list[list[int]]:
    """The rows of each word's tokens, without special tokens."""
    words: list[list[int]] = []
    for row in (i for i, special in enumerate(text.is_special) if not special):
        if words and merge_subwords and _continues_word(text, row):
            words[-1].append(row)
        else:
            words.append([row])
    return words


def _continues_word(text: TokenizedText, position: int) -> bool:
    """Whether a token continues the word before it. An unknown token never does.

    If the vocabulary marks subwords, a marked token is longer than its text. Otherwise a word starts after a space.
    """
    start, end = text.offsets[position]
    if text.sequence.token_ids[position] == text.unk_token_id:
        return False
    if text.marks_subwords:
        return len(text.tokens[position]) != end - start
    return start > 0 and " " not in text.text[start - 1 : start + 1]


def _label_words(
    text: TokenizedText,
    rows_of_words: Iterable[list[int]],
    probabilities: Vectors,
    scores: Vectors,
    labels: Items[str],
    strategy: Strategy,
) -> Iterator[_Word]:
    """Words with their label by `strategy`, and the mean of `scores` for that label."""
    confidence = probabilities.max(axis=1)
    for rows in rows_of_words:
        deciding = rows[:1]
        if strategy == "average":
            deciding = rows
        elif strategy == "max":
            deciding = [max(rows, key=confidence.__getitem__)]
        label = int(probabilities[deciding].mean(axis=0).argmax())
        score = float(scores[deciding, label].mean())
        yield _Word(text.offsets[rows[0]][0], text.offsets[rows[-1]][1], labels[label], score)


def _group_words(words: Iterable[_Word]) -> list[list[_Word]]:
    """Group adjacent words of one entity; B- starts a new one."""
    groups: list[list[_Word]] = []
    for word in words:
        if (
            groups
            and not word.label.startswith("B-")
            and _entity_type(word.label) == _entity_type(groups[-1][-1].label)
        ):
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def _entity_type(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def _group_label(group: list[_Word]) -> str:
    """The first word's label after its first hyphen, whatever the prefix, as in transformers."""
    return group[0].label.split("-", 1)[-1]


def _span(text: str, group: list[_Word]) -> Entity:
    start, end = group[0].start, group[-1].end
    score = float(np.mean([word.score for word in group]))
    return Entity(text[start:end], 0, start, end, {_group_label(group): score})
