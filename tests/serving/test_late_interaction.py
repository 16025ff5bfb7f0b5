"""How queries and documents become sequences: markers, expansion, and truncation from either side."""

import numpy as np
import pytest

from openbei.errors import InputError
from openbei.late_interaction import LateInteraction
from openbei.serving.late_interaction import encode_side
from openbei.serving.tokenizer import Tokenizer
from openbei.serving.truncation import Direction

from ..small_tokenizer import CLS, NUM_SPECIAL, SEP, VOCAB_SIZE, ids, words, write_tokenizer

QUERY, DOCUMENT, MASK = 700, 701, 702
LATE = LateInteraction(
    query_length=6,
    document_length=8,
    query_marker=QUERY,
    document_marker=DOCUMENT,
    expansion_id=MASK,
    expanded_length=5,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(write_tokenizer(tmp_path_factory.mktemp("late") / "tokenizer.json"), 8, VOCAB_SIZE)


def encode(
    tokenizer: Tokenizer,
    text: str,
    *,
    is_query: bool,
    late: LateInteraction = LATE,
    direction: Direction = "right",
    max_tokens: int | None = None,
) -> list[int]:
    how = {"truncate": True, "direction": direction, "max_tokens": max_tokens}
    [sequence] = encode_side(tokenizer, late, [text], how, is_query=is_query, prompt="", param="texts")
    assert sequence.token_ids.dtype == np.int32
    assert sequence.is_truncated == (sequence.num_tokens_given > sequence.num_tokens)
    return list(sequence.token_ids.tolist())


def test_short_queries_are_expanded(tokenizer: Tokenizer) -> None:
    assert encode(tokenizer, "", is_query=True) == [CLS, QUERY, SEP, MASK, MASK]
    assert encode(tokenizer, "w1", is_query=True) == [CLS, QUERY, NUM_SPECIAL + 1, SEP, MASK]
    assert encode(tokenizer, words(1, 3), is_query=True) == [CLS, QUERY, *ids(1, 3)[1:]]


@pytest.mark.parametrize(("direction", "first"), [("right", 1), ("left", 16)])
def test_long_texts_are_truncated_on_a_side(direction: Direction, first: int, tokenizer: Tokenizer) -> None:
    found = encode(tokenizer, words(1, 18), is_query=True, direction=direction)
    assert found == [CLS, QUERY, *ids(first, 3)[1:]]
    found = encode(tokenizer, words(1, 18), is_query=False, direction=direction)
    assert found == [CLS, DOCUMENT, *ids(first if direction == "right" else 14, 5)[1:]]


def test_a_request_asks_for_fewer_tokens(tokenizer: Tokenizer) -> None:
    assert encode(tokenizer, words(1, 18), is_query=False, max_tokens=4) == [CLS, DOCUMENT, NUM_SPECIAL + 1, SEP]
    assert len(encode(tokenizer, words(1, 18), is_query=False, max_tokens=100)) == 8
    with pytest.raises(InputError, match="truncate_prompt_tokens is 1, which is the marker's"):
        encode(tokenizer, "w1", is_query=True, max_tokens=1)


def test_without_markers_and_expansion(tokenizer: Tokenizer) -> None:
    plain = LateInteraction(query_length=4, document_length=8)
    assert encode(tokenizer, words(1, 9), is_query=True, late=plain) == ids(1, 2)
    assert encode(tokenizer, "", is_query=False, late=plain) == [CLS, SEP]
