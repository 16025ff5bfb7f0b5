"""Logits of tokens to named entities: one for each token, or words and spans grouped by their B- and I- labels.

Groups, spans and scores are those of transformers' TokenClassificationPipeline; `ignored` is its `ignore_labels`.
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
"""How tokens become entities.

none: each is one. simple: neighbours with one label are. The others first make tokens of a word agree: on the label of
its first token, on the best label of the mean probabilities, or on the label of the token that is surest of its own.
"""

IGNORED = ("O",)
"""Labels of what is no entity."""


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text and its tokens, those the engine reads.

    `tokens` are strings of the vocabulary. `offsets` are start and end (exclusive) in code points of `text`, and (0, 0)
    for special tokens, which `is_special` marks: those that were added, not those that the text spells out.
    `marks_subwords` says whether the vocabulary marks what continues a word, as WordPiece does with ##.
    """

    text: str
    sequence: Sequence
    tokens: list[str]
    offsets: list[tuple[int, int]]
    is_special: list[bool]
    marks_subwords: bool
    unk_token_id: int | None = None


class Entity(msgspec.Struct, frozen=True):
    """A token or a span of the text, `start` to `end` (exclusive) in code points, and the numbers of its labels."""

    token: str
    token_id: int
    start: int
    end: int
    results: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Word:
    """Tokens that share a label."""

    start: int
    end: int
    label: str
    number: float


def entities(
    text: TokenizedText,
    logits: Vectors,
    labels: Items[str],
    strategy: Strategy,
    *,
    raw_scores: bool,
    ignored: Collection[str] = IGNORED,
) -> list[Entity]:
    """Entities of a text, in its order; `logits` is float32 [num_tokens, num_labels].

    With `none` there is one for each token, special ones too, with the best label and its probability, or with
    `raw_scores` every label and its logit. Otherwise `token` is a slice of the text, `token_id` is 0, and the label
    has no B- or I-, and is none of those `ignored`; `raw_scores` gives the mean of the logits behind the same label.
    Raises EngineError where a logit is not finite.
    """
    check_finite(logits)
    probabilities = softmax(logits)
    if strategy == "none":
        results = _raw(logits, labels) if raw_scores else _best(probabilities, labels)
        rows = zip(text.tokens, text.sequence.token_ids.tolist(), text.offsets, results, strict=True)
        return [Entity(token, token_id, *offsets, numbers) for token, token_id, offsets, numbers in rows]
    members = _words(text, is_each_alone=strategy == "simple")
    words = _labelled(text, members, probabilities, logits if raw_scores else probabilities, labels, strategy)
    return [_span(text.text, group) for group in _groups(words) if _name(group) not in ignored]


def _raw(logits: Vectors, labels: Items[str]) -> Iterator[dict[str, float]]:
    return (dict(zip(labels, row, strict=True)) for row in logits.tolist())


def _best(probabilities: Vectors, labels: Items[str]) -> Iterator[dict[str, float]]:
    best = probabilities.argmax(axis=1).tolist()
    return ({labels[i]: p} for i, p in zip(best, probabilities.max(axis=1).tolist(), strict=True))


def _words(text: TokenizedText, *, is_each_alone: bool) -> list[list[int]]:
    """Positions of tokens, word by word, special ones left out."""
    words: list[list[int]] = []
    for position in (i for i, special in enumerate(text.is_special) if not special):
        if words and not is_each_alone and _continues(text, position):
            words[-1].append(position)
        else:
            words.append([position])
    return words


def _continues(text: TokenizedText, position: int) -> bool:
    """Whether a token belongs to the word before it; one that the vocabulary lacks never does.

    By a mark in the vocabulary, which makes a token longer than its text. Otherwise, if there is no space before it.
    """
    start, end = text.offsets[position]
    if text.sequence.token_ids[position] == text.unk_token_id:
        return False
    if text.marks_subwords:
        return len(text.tokens[position]) != end - start
    return start > 0 and " " not in text.text[start - 1 : start + 1]


def _labelled(
    text: TokenizedText,
    members: Iterable[list[int]],
    probabilities: Vectors,
    numbers: Vectors,
    labels: Items[str],
    strategy: Strategy,
) -> Iterator[_Word]:
    """Words with the label that their probabilities agree on, and the mean of `numbers` for it."""
    surest = probabilities.max(axis=1)
    for word in members:
        asked = word[:1]
        if strategy == "average":
            asked = word
        elif strategy == "max":
            asked = [max(word, key=surest.__getitem__)]
        label = int(probabilities[asked].mean(axis=0).argmax())
        number = float(numbers[asked, label].mean())
        yield _Word(text.offsets[word[0]][0], text.offsets[word[-1]][1], labels[label], number)


def _groups(words: Iterable[_Word]) -> list[list[_Word]]:
    """Neighbours with one tag; B- begins a new group."""
    groups: list[list[_Word]] = []
    for word in words:
        if groups and not word.label.startswith("B-") and _tag(word.label) == _tag(groups[-1][-1].label):
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def _tag(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def _name(group: list[_Word]) -> str:
    """What a group is called: its label from the first hyphen on, whatever the letters before it."""
    return group[0].label.split("-", 1)[-1]


def _span(text: str, group: list[_Word]) -> Entity:
    start, end = group[0].start, group[-1].end
    number = float(np.mean([word.number for word in group]))
    return Entity(text[start:end], 0, start, end, {_name(group): number})
