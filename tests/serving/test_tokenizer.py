"""Tokenizing: lengths, truncation, token ids, errors."""

import asyncio
from pathlib import Path

import pytest

from openbei.errors import EngineDirError, InputError
from openbei.serving.tokenizer import CHARACTERS_PER_TOKEN, GROUP_CHARACTERS, INLINE_CHARACTERS, Tokenizer

from ..small_tokenizer import SEP, VOCAB_SIZE, ids, words, write_tokenizer

LIMIT = 16


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(write_tokenizer(tmp_path_factory.mktemp("t") / "tokenizer.json"), LIMIT, VOCAB_SIZE)


def test_stored_truncation_and_padding_are_dropped(tokenizer: Tokenizer) -> None:
    [sequence] = tokenizer.encode([words(5, 10)])
    assert sequence.token_ids.tolist() == ids(5, 10)
    assert not sequence.is_truncated


@pytest.mark.parametrize("count", [13, 14, 15, 16, 100, 700])
def test_cut_text_keeps_special_tokens_and_true_length(tokenizer: Tokenizer, count: int) -> None:
    [sequence] = tokenizer.encode([words(0, count)])
    assert sequence.token_ids.tolist() == ids(0, min(count, LIMIT - 2))
    assert sequence.num_tokens_given == count + 2
    assert sequence.is_truncated == (count + 2 > LIMIT)


def test_without_truncation_the_error_names_length_and_limit(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"input\[1\] has 42 tokens, the limit is 16") as caught:
        tokenizer.encode(["w1", words(0, 40)], truncate=False)
    assert caught.value.param == "input[1]"
    with pytest.raises(InputError, match="has 17 tokens"):
        tokenizer.from_ids([5] * 17, truncate=False)


def test_text_far_beyond_the_limit_is_not_read_to_its_end(tokenizer: Tokenizer) -> None:
    [sequence] = tokenizer.encode(["w1 " * 2_000_000])
    assert sequence.num_tokens == LIMIT
    assert sequence.num_tokens_given == 2 + -(-CHARACTERS_PER_TOKEN * LIMIT // 3)


def test_many_texts_keep_their_order(tokenizer: Tokenizer) -> None:
    texts = [words(i, i % 14 + 1) for i in range(2 * GROUP_CHARACTERS // 30)]
    assert [s.token_ids.tolist() for s in tokenizer.encode(texts)] == [ids(i, i % 14 + 1) for i in range(len(texts))]


def test_inline_and_in_a_thread_are_the_same(tokenizer: Tokenizer) -> None:
    for count in (1, INLINE_CHARACTERS):
        texts = [words(i, 3) for i in range(count)]
        sequences = asyncio.run(tokenizer.encode_async(texts))
        assert [s.token_ids.tolist() for s in sequences] == [ids(i, 3) for i in range(count)]


def test_token_ids_are_used_as_they_are(tokenizer: Tokenizer) -> None:
    for given in ([7, 8, 9], [0], [VOCAB_SIZE - 1]):
        sequence = tokenizer.from_ids(given)
        assert sequence.token_ids.tolist() == given
        assert sequence.num_tokens_given == len(given)


def test_token_ids_are_cut_like_text(tokenizer: Tokenizer) -> None:
    with_closing, without = tokenizer.from_ids(ids(0, 50)), tokenizer.from_ids([9] * 50)
    assert with_closing.token_ids.tolist() == ids(0, LIMIT - 2)
    assert with_closing.token_ids[-1] == SEP
    assert without.token_ids.tolist() == [9] * LIMIT
    assert without.num_tokens_given == 50


@pytest.mark.parametrize("bad", [-1, VOCAB_SIZE, 2**31, 2**70])
def test_token_id_outside_the_vocabulary_is_named(tokenizer: Tokenizer, bad: int) -> None:
    with pytest.raises(InputError, match=rf"input\[3\]\[1\] is {bad}, token ids are 0 to {VOCAB_SIZE - 1}") as caught:
        tokenizer.from_ids([4, bad, -7], param="input[3]")
    assert caught.value.param == "input[3][1]"


def test_no_token_ids(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"input\[0\] has no tokens"):
        tokenizer.from_ids([], param="input[0]")


@pytest.mark.parametrize("count", [1, INLINE_CHARACTERS])
def test_half_a_surrogate_pair(tokenizer: Tokenizer, count: int) -> None:
    with pytest.raises(InputError, match="surrogate"):
        tokenizer.encode(["a\ud800" * count])


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_not_a_tokenizer(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineDirError, match="is not a tokenizer"):
        Tokenizer(path, LIMIT, VOCAB_SIZE)
