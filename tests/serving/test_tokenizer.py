"""Tokenizing: lengths, truncation, token ids, errors."""

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest

from openbei.errors import EngineDirError, InputError
from openbei.serving import cancellation
from openbei.serving.library import GROUP_CHARACTERS, INLINE_CHARACTERS
from openbei.serving.tokenizer import CHARACTERS_PER_TOKEN, MAX_LISTED_CHARACTERS, MAX_LISTED_TOKENS, Token, Tokenizer

from ..small_tokenizer import CLS, SEP, UNK, VOCAB_SIZE, ids, words, write_tokenizer

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
    with pytest.raises(InputError, match=r"input\[1\] has 42 tokens; the limit is 16") as caught:
        tokenizer.encode(["w1", words(0, 40)], truncate=False)
    assert caught.value.param == "input[1]"
    with pytest.raises(InputError, match="has 17 tokens"):
        tokenizer.from_ids([5] * 17, truncate=False)


def test_without_truncation_characters_have_a_limit_too(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"texts\[0\] has 4001 characters; the limit is 4000"):
        tokenizer.encode([" " * (CHARACTERS_PER_TOKEN * LIMIT + 1)], truncate=False, param="texts")


def test_cut_on_the_left(tokenizer: Tokenizer) -> None:
    for count in (13, 14, 15, 100, 2000):
        [sequence] = tokenizer.encode([words(0, count)], direction="left")
        kept = min(count, LIMIT - 2)
        assert sequence.token_ids.tolist() == ids(count - kept, kept)
        assert sequence.is_truncated == (count + 2 > LIMIT)


def test_prompt_is_put_in_front(tokenizer: Tokenizer) -> None:
    [short, long] = tokenizer.encode(["w8", words(8, 20)], prompt="w6 w7 ")
    assert short.token_ids.tolist() == ids(6, 3)
    assert long.token_ids.tolist() == ids(6, LIMIT - 2)
    assert long.num_tokens_given == 24


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
        sequences = asyncio.run(cancellation.in_thread(partial(tokenizer.encode, texts)))
        assert [s.token_ids.tolist() for s in sequences] == [ids(i, 3) for i in range(count)]


def test_token_ids_are_used_as_they_are(tokenizer: Tokenizer) -> None:
    for given in ([7, 8, 9], [0], [VOCAB_SIZE - 1]):
        sequence = tokenizer.from_ids(given)
        assert sequence.token_ids.tolist() == given
        assert sequence.num_tokens_given == len(given)


def test_threads_share_a_tokenizer(tokenizer: Tokenizer) -> None:
    """Calls of different settings at once, each with its own answer."""
    failures: list[object] = []

    def call(seed: int) -> None:
        for i in range(200):
            direction = ("right", "left")[(seed + i) % 2]
            [sequence] = tokenizer.encode([words(0, 30)], direction=direction)
            [listed] = tokenizer.tokenize([words(0, 30)])
            if sequence.token_ids.tolist() != ids(0 if direction == "right" else 16, 14) or len(listed) != 32:
                failures.append((seed, i))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_token_ids_are_cut_like_text(tokenizer: Tokenizer) -> None:
    with_closing, without = tokenizer.from_ids(ids(0, 50)), tokenizer.from_ids([9] * 50)
    left = tokenizer.from_ids(ids(0, 50), direction="left")
    assert left.token_ids.tolist() == ids(36, LIMIT - 2)
    assert left.num_tokens_given == 52
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
    with pytest.raises(InputError, match=r"input\[1\] has half a surrogate pair") as caught:
        tokenizer.encode(["w1", "a\ud800" * count])
    assert caught.value.param == "input[1]"
    with pytest.raises(InputError, match=r"texts\[2\] has half a surrogate pair"):
        tokenizer.encode_pairs([("w1", "w2"), ("w1", "w2"), ("w1", "\udfff" * count)], param="texts")


def test_listed_tokens(tokenizer: Tokenizer) -> None:
    opening, closing = Token(CLS, "[CLS]", True, None, None), Token(SEP, "[SEP]", True, None, None)
    [first, second] = tokenizer.tokenize(["[SEP]  W1 é", ""], prompt="w0 ")
    assert first == [
        opening,
        Token(4, "w0", False, 0, 2),
        Token(SEP, "[SEP]", False, 3, 8),
        Token(UNK, "W1", False, 10, 12),
        Token(UNK, "é", False, 13, 14),
        closing,
    ]
    assert second == [opening, Token(4, "w0", False, 0, 2), closing]
    assert tokenizer.tokenize(["w1", ""], add_special_tokens=False) == [[Token(5, "w1", False, 0, 2)], []]
    assert len(tokenizer.tokenize([words(0, 500)])[0]) == 502


def test_too_much_to_list(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=f"inputs has {MAX_LISTED_CHARACTERS + 1} characters; the limit is"):
        tokenizer.tokenize(["a" * MAX_LISTED_CHARACTERS, "b"])
    few = MAX_LISTED_TOKENS // 2
    with pytest.raises(InputError, match=f"inputs has {3 * few} tokens and more; the limit is {MAX_LISTED_TOKENS}"):
        tokenizer.tokenize([". " * few] * 4, add_special_tokens=False)
    with pytest.raises(InputError, match=f"ids has {MAX_LISTED_TOKENS + 2} token ids; the limit is"):
        tokenizer.decode([[5] * (few + 1)] * 2)


def test_fewer_tokens_than_the_limit(tokenizer: Tokenizer) -> None:
    for direction, kept in (("right", ids(0, 3)), ("left", ids(37, 3))):
        [sequence] = tokenizer.encode([words(0, 40)], max_tokens=5, direction=direction)
        assert sequence.token_ids.tolist() == kept
        assert (sequence.num_tokens_given, sequence.is_truncated) == (42, True)
        assert tokenizer.from_ids(ids(0, 40), max_tokens=5, direction=direction).token_ids.tolist() == kept
    assert tokenizer.encode([words(0, 40)], max_tokens=LIMIT + 9)[0].num_tokens == LIMIT
    with pytest.raises(InputError, match=r"input\[0\] has 5 tokens; the limit is 4"):
        tokenizer.encode([words(0, 3)], max_tokens=4, truncate=False)


def test_text_cut_to_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.cut_text("w1  w2 w3 ", 2) == "w1  w2"
    assert tokenizer.cut_text("w1  w2 w3 ", 3) == "w1  w2 w3 "
    assert tokenizer.cut_text("", 1) == ""


def test_decoded(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([ids(3, 2), []]) == ["w3 w4", ""]
    assert tokenizer.decode([ids(3, 2)], skip_special_tokens=False) == ["[CLS] w3 w4 [SEP]"]
    with pytest.raises(InputError, match=rf"ids\[1\]\[0\] is {2**40}, token ids are 0 to") as caught:
        tokenizer.decode([[1], [2**40]])
    assert caught.value.param == "ids[1][0]"


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_not_a_tokenizer(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineDirError, match="is not a tokenizer"):
        Tokenizer(path, LIMIT, VOCAB_SIZE)
