"""Properties of truncation, and comparison with the tokenizers library."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from openbei.serving.truncation import FIXED, positions_to_keep

DIRECTIONS = st.sampled_from(["right", "left"])


def make_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "a": 2, "b": 3}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    return tokenizer


@settings(deadline=None)
@given(num_a=st.integers(0, 20), num_b=st.integers(0, 20), limit=st.integers(4, 30), direction=DIRECTIONS)
def test_longest_first_matches_tokenizers(num_a: int, num_b: int, limit: int, direction: str) -> None:
    tokenizer = make_tokenizer()
    parts = np.array([FIXED, *[0] * num_a, FIXED, *[1] * num_b, FIXED])
    positions = positions_to_keep(parts, limit, direction)
    untruncated = tokenizer.encode("a " * num_a, "b " * num_b)
    tokenizer.enable_truncation(limit, direction=direction)
    assert [untruncated.ids[i] for i in positions] == tokenizer.encode("a " * num_a, "b " * num_b).ids


@settings(deadline=None)
@given(parts=st.lists(st.sampled_from([FIXED, 0, 0, 1]), max_size=30), limit=st.integers(0, 40), direction=DIRECTIONS)
def test_fixed_tokens_are_kept_and_texts_are_truncated_on_one_side(
    parts: list[int], limit: int, direction: str
) -> None:
    positions = positions_to_keep(np.array(parts, np.intp), limit, direction).tolist()
    assert positions == sorted(set(positions))
    assert len(positions) == min(len(parts), limit)
    if parts.count(FIXED) <= limit:
        assert [i for i in positions if parts[i] == FIXED] == [i for i, part in enumerate(parts) if part == FIXED]
        for text in (0, 1):
            before = [i for i, part in enumerate(parts) if part == text]
            after = [i for i in positions if parts[i] == text]
            assert after == (before[: len(after)] if direction == "right" else before[len(before) - len(after) :])
