"""Pairs, templates and offsets with tokenizers of every kind, judged by transformers and by the texts themselves."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from openbei.errors import InputError
from openbei.serving.tokenizer import CHARACTERS_PER_TOKEN, Frame, Tokenizer
from openbei.serving.truncation import Truncation

from .. import prose
from ..trained_tokenizers import KINDS, MANY_SCRIPTS, special_tokens, train

LIMIT = 24


@dataclass
class Subject:
    """One tokenizer, ours and transformers', and what kind it is."""

    kind: str
    path: Path
    ours: Tokenizer
    theirs: Any


@pytest.fixture(scope="module", params=KINDS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    from transformers import PreTrainedTokenizerFast

    path = train(request.param, tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(path), **special_tokens(request.param))
    return Subject(request.param, path, Tokenizer(path, LIMIT, len(theirs)), theirs)


def asked(subject: Subject, *texts: str, direction: str, limit: int | None = LIMIT) -> dict[str, list[int]]:
    subject.theirs.truncation_side = direction
    return subject.theirs(
        *texts, truncation=limit is not None, max_length=limit, return_token_type_ids=True, verbose=False
    )


@pytest.mark.parametrize("direction", ["right", "left"])
def test_texts_and_pairs_are_those_of_transformers(subject: Subject, direction: str) -> None:
    texts = [*MANY_SCRIPTS, *prose.texts(20, longest=40)]
    pairs = list(zip(texts, texts[::-1], strict=True))
    for inputs, sequences in (
        ([(text,) for text in texts], subject.ours.encode(texts, direction=direction)),
        (pairs, subject.ours.encode_pairs(pairs, direction=direction)),
    ):
        for given_texts, sequence in zip(inputs, sequences, strict=True):
            expected = asked(subject, *given_texts, direction=direction)
            types = expected["token_type_ids"] if any(expected["token_type_ids"]) else None
            assert sequence.token_ids.tolist() == expected["input_ids"]
            assert (sequence.type_ids if types is None else sequence.type_ids.tolist()) == types
            whole = asked(subject, *given_texts, direction=direction, limit=None)
            assert sequence.num_tokens_given == len(whole["input_ids"])


SPECIALS = st.sampled_from(["[SEP]", "</s>", "[CLS]", "<s>", "[MASK]", " ", "  ", "\n", "é", "\u0301", "##a", "▁"])
TEXTS = st.lists(SPECIALS | st.sampled_from([*MANY_SCRIPTS, *prose.WORDS[:50]]) | st.text(max_size=6)).map("".join)


@settings(max_examples=60, deadline=None)
@given(queries=st.lists(TEXTS, min_size=1, max_size=3), documents=st.lists(TEXTS, max_size=5), data=st.data())
def test_pairs_are_joined_as_the_library_encodes_them(
    subject: Subject, queries: list[str], documents: list[str], data: st.DataObject
) -> None:
    """Ids, types, lengths and truncation, whatever the texts hold, though each text is encoded alone."""
    assert subject.ours._library.pair_template
    pairs = [(data.draw(st.sampled_from(queries)), document) for document in documents]
    direction = data.draw(st.sampled_from(["right", "left"]))
    max_tokens = data.draw(st.integers(1, LIMIT))
    joined = subject.ours.encode_pairs(pairs, direction=direction, max_tokens=max_tokens)
    whole = subject.ours._encode(pairs, Truncation(True, direction, max_tokens), "input")
    for found, expected in zip(joined, whole, strict=True):
        assert found.token_ids.tolist() == expected.token_ids.tolist()
        assert found.num_tokens_given == expected.num_tokens_given
        assert np.array_equal(found.type_ids, expected.type_ids)


OTHER_TEMPLATES = {
    "no special tokens": ("$A:0 $B:1", True),
    "around the second text only": ("$A:0 <s>:1 $B:0 </s>:0", True),
    "types by token": ("<s>:1 $A:2 </s>:0 <s>:3 $B:1", True),
    "the second text first": ("<s>:0 $B:1 </s>:0 $A:0", False),
    "a text twice": ("$A:0 <s>:0 $B:1 $A:0", False),
}


@pytest.mark.parametrize("name", OTHER_TEMPLATES)
def test_other_templates(name: str, tmp_path: Path) -> None:
    """They are joined where two texts stand in their order, or else left to the library."""
    template, is_joined = OTHER_TEMPLATES[name]
    tokenizer = tokenizers.Tokenizer.from_file(str(train("unigram", tmp_path / "tokenizer.json")))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair=template, special_tokens=ids)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer(tmp_path / "tokenizer.json", LIMIT, tokenizer.get_vocab_size())
    assert (ours._library.pair_template is not None) == is_joined
    for pair in (("the end", "of"), ("", "of a x"), ("the", "")):
        [sequence], expected = ours.encode_pairs([pair]), tokenizer.encode(*pair)
        assert sequence.token_ids.tolist() == expected.ids
        types = [0] * len(expected) if sequence.type_ids is None else sequence.type_ids.tolist()
        assert types == expected.type_ids


def test_a_query_is_tokenized_once(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    library, read = subject.ours._library, []
    encodings = library.encodings

    def spy(items: list[str], *args: Any, **kwargs: Any) -> Any:
        read.extend(items)
        return encodings(items, *args, **kwargs)

    monkeypatch.setattr(library, "encodings", spy)
    subject.ours.encode_pairs([("the query", "a"), ("the query", "b"), ("another", "a"), ("the query", "c")])
    assert read == ["the query", "another", "a", "b", "a", "c"]


def test_half_a_surrogate_pair_in_a_first_text(subject: Subject) -> None:
    with pytest.raises(InputError, match=r"texts\[2\] has half a surrogate pair"):
        subject.ours.encode_pairs([("a", "b"), ("a", "c"), ("\ud800", "d")], param="texts")


def test_token_types_where_the_model_has_some(tokenizer_json: Path) -> None:
    [sequence] = Tokenizer(tokenizer_json, LIMIT, 800).encode_pairs([("a", "the")])
    assert sequence.type_ids.tolist() == [0, 0, 0, 1, 1]
    assert sequence.type_ids.dtype == np.int32
    [sequence] = Tokenizer(tokenizer_json, LIMIT, 800, has_token_types=False).encode_pairs([("a", "the")])
    assert sequence.type_ids is None


def test_pair_that_is_too_long(subject: Subject) -> None:
    with pytest.raises(InputError, match=r"texts\[1\] has \d+ tokens; the limit is 24"):
        subject.ours.encode_pairs([("a", "b"), ("a", "the " * 30)], truncate=False, param="texts")
    [sequence] = subject.ours.encode_pairs([("the " * 100_000, "a " * 100_000)])
    assert sequence.num_tokens == LIMIT


@pytest.mark.parametrize("direction", ["right", "left"])
def test_offsets_are_where_the_token_is(subject: Subject, direction: str) -> None:
    texts = [*MANY_SCRIPTS, *prose.texts(10, longest=60), "x " * 5 + "the end " * CHARACTERS_PER_TOKEN * LIMIT]
    for text, tokenized in zip(texts, subject.ours.encode_texts_for_labels(texts, direction=direction), strict=True):
        assert tokenized.text == text
        assert tokenized.sequence.num_tokens == len(tokenized.tokens) == len(tokenized.offsets) <= LIMIT
        spans = [span for span, special in zip(tokenized.offsets, tokenized.is_special, strict=True) if not special]
        assert all(0 <= start <= stop <= len(text) for start, stop in spans)
        assert [start for start, _ in spans] == sorted(start for start, _ in spans)
        assert {span for span, special in zip(tokenized.offsets, tokenized.is_special, strict=True) if special} == {
            (0, 0)
        }
        for token, span in zip(tokenized.tokens, tokenized.offsets, strict=True):
            if "[" not in token and "<" not in token:
                assert spelled(subject, token) in plain(subject, text[slice(*span)])


def test_offsets_of_a_text_that_is_read_from_its_end(subject: Subject) -> None:
    text = "the x " * CHARACTERS_PER_TOKEN * LIMIT + "the end"
    [tokenized] = subject.ours.encode_texts_for_labels([text], direction="left")
    start, stop = tokenized.offsets[-2]
    assert len(text) - 4 <= start < stop == len(text)


def spelled(subject: Subject, token: str) -> bytes:
    """What a token of the vocabulary stands for, without the space in front."""
    if subject.kind == "wordpiece":
        return token.removeprefix("##").encode()
    if subject.kind.startswith("unigram"):
        return token.replace("▁", "").encode()
    return byte_level(token).strip()


def byte_level(token: str) -> bytes:
    """Bytes of a token of a byte-level vocabulary: what cannot be seen is shown by letters from U+0100 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in seen]
    table = {chr(byte): byte for byte in seen} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
    return bytes(table[letter] for letter in token)


def plain(subject: Subject, text: str) -> bytes:
    """A text as the tokenizer's normalizer leaves it."""
    if subject.kind != "wordpiece":
        return text.encode()
    decomposed = unicodedata.normalize("NFD", text).lower()
    return "".join(c for c in unicodedata.normalize("NFD", decomposed) if unicodedata.category(c) != "Mn").encode()


PREFIX, SUFFIX = "Query: how is it?\nText: ", "\nDoes it answer?"
ROOM = 60


@pytest.mark.parametrize("direction", ["right", "left"])
@pytest.mark.parametrize("num_words", [0, 1, 5, 10, 11, 12, 13, 14, 15, 20, 40, 400])
def test_a_template_is_never_cut(subject: Subject, direction: str, num_words: int) -> None:
    document = " ".join(prose.WORDS[:num_words])
    whole = subject.theirs(PREFIX + document + SUFFIX, return_offsets_mapping=True, verbose=False)
    ids, spans = whole["input_ids"], whole["offset_mapping"]
    [sequence] = Tokenizer(subject.path, ROOM, len(subject.theirs)).encode_framed(
        Frame(PREFIX, SUFFIX), [document], direction=direction
    )
    assert sequence.num_tokens_given == len(ids)
    assert sequence.num_tokens == min(ROOM, len(ids))
    if num_cut := len(ids) - sequence.num_tokens:
        inside = [len(PREFIX) <= start and stop <= len(PREFIX) + len(document) for start, stop in spans]
        inside[-1] = False  # the special token at the end
        first = inside.index(True) if direction == "left" else len(ids) - inside[::-1].index(True) - num_cut
        assert all(inside[first : first + num_cut])
        ids = ids[:first] + ids[first + num_cut :]
    assert sequence.token_ids.tolist() == ids


def test_an_empty_template_is_like_none(subject: Subject) -> None:
    [templated], [plain_text] = (
        subject.ours.encode_framed(Frame("", ""), ["the " * 50]),
        subject.ours.encode(["the " * 50]),
    )
    assert templated.token_ids.tolist() == plain_text.token_ids.tolist()


def test_a_template_that_is_too_long(subject: Subject) -> None:
    ours = Tokenizer(subject.path, ROOM, len(subject.theirs))
    with pytest.raises(InputError, match=r"query has \d+ tokens with the model's template; the limit is 59") as caught:
        ours.encode_framed(Frame("how " * 70, SUFFIX), ["a"])
    assert caught.value.param == "query"
    with pytest.raises(InputError, match="query has 40000016 characters with the model's template") as caught:
        ours.encode_framed(Frame("how " * 10_000_000, SUFFIX), ["a"])
    with pytest.raises(InputError, match=r"texts\[1\] has \d+ tokens; the limit is 60") as caught:
        ours.encode_framed(Frame(PREFIX, SUFFIX), ["a", "the " * 100], truncate=False)
    assert caught.value.param == "texts[1]"
