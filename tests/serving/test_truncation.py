"""Which tokens are kept, by properties and against the tokenizers library's own truncation."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from openbei.serving.truncation import FIXED, kept

DIRECTIONS = st.sampled_from(["right", "left"])


def library() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "a": 2, "b": 3}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    return tokenizer


@settings(deadline=None)
@given(num_a=st.integers(0, 20), num_b=st.integers(0, 20), limit=st.integers(4, 30), direction=DIRECTIONS)
def test_longest_first_is_the_librarys(num_a: int, num_b: int, limit: int, direction: str) -> None:
    tokenizer = library()
    parts = np.array([FIXED, *[0] * num_a, FIXED, *[1] * num_b, FIXED])
    positions = kept(parts, limit, direction)
    whole = tokenizer.encode("a " * num_a, "b " * num_b)
    tokenizer.enable_truncation(limit, direction=direction)
    assert [whole.ids[i] for i in positions] == tokenizer.encode("a " * num_a, "b " * num_b).ids


@settings(deadline=None)
@given(parts=st.lists(st.sampled_from([FIXED, 0, 0, 1]), max_size=30), limit=st.integers(0, 40), direction=DIRECTIONS)
def test_what_is_fixed_stays_and_the_rest_is_one_end(parts: list[int], limit: int, direction: str) -> None:
    positions = kept(np.array(parts, np.intp), limit, direction).tolist()
    assert positions == sorted(set(positions))
    assert len(positions) == min(len(parts), limit)
    if parts.count(FIXED) <= limit:
        assert [i for i in positions if parts[i] == FIXED] == [i for i, part in enumerate(parts) if part == FIXED]
        for text in (0, 1):
            given_positions = [i for i, part in enumerate(parts) if part == text]
            chosen = [i for i in positions if parts[i] == text]
            end = slice(0, len(chosen)) if direction == "right" else slice(len(given_positions) - len(chosen), None)
            assert chosen == given_positions[end]
