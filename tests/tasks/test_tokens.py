"""Entities against transformers' TokenClassificationPipeline, and raw scores against values computed by hand."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbei.batch import Sequence
from openbei.errors import EngineError
from openbei.serving.tokenizer import Tokenizer
from openbei.tasks.tokens import Entity, TokenizedText, entities

from .. import prose
from ..trained_tokenizers import KINDS, MANY_SCRIPTS, special_tokens, train

pytestmark = pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC", "X-ODD", "B-O"]
AGGREGATING = ("simple", "first", "average", "max")
LIMIT = 64

PIECES = [
    "Ada",
    "lov",
    "elace",
    "the",
    "sys",
    ".",
    ",",
    "'",
    "-",
    " ",
    "  ",
    "\n",
    "é",
    "e\u0301",
    "Ł",
    "東",
    "京",
    "🤗",
]
some_text = st.lists(st.sampled_from([*PIECES, "\U0001d4d0", "ﬁ", "İ", "[SEP]", "</s>"]), max_size=30).map("".join)


@dataclass
class Subject:
    """A tokenizer, and transformers' pipeline with the same tokenizer."""

    tokenizer: Tokenizer
    pipeline: Any

    def tokenized(self, text: str) -> TokenizedText:
        [tokenized] = self.tokenizer.encode_texts_for_labels([text])
        return tokenized


@pytest.fixture(scope="module", params=KINDS)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    import torch
    import transformers

    path = train(request.param, tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")
    their_tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(path), model_max_length=LIMIT, **special_tokens(request.param)
    )
    name = "Bert" if request.param == "wordpiece" else "Roberta"
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(their_tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LIMIT + 8,
        pad_token_id=their_tokenizer.pad_token_id,
        id2label=dict(enumerate(LABELS)),
    )
    torch.manual_seed(1)
    model = getattr(transformers, f"{name}ForTokenClassification")(config).eval()
    model.classifier.weight.data.normal_(0, 1)
    tokenizer = Tokenizer(path, LIMIT, len(their_tokenizer), unk_token_id=their_tokenizer.unk_token_id)
    return Subject(tokenizer, transformers.pipeline("ner", model=model, tokenizer=their_tokenizer, device="cpu"))


def same(found: list[Entity], expected: list[dict[str, Any]], text: str) -> None:
    assert [(e.start, e.end, *e.results) for e in found] == [
        (e["start"], e["end"], e["entity_group"]) for e in expected
    ]
    scores = [number for entity in found for number in entity.results.values()]
    np.testing.assert_allclose(scores, [e["score"] for e in expected], atol=1e-4)
    assert [(e.token, e.token_id) for e in found] == [(text[e.start : e.end], 0) for e in found]


@pytest.mark.parametrize("strategy", AGGREGATING)
def test_entities_of_a_model_match_the_pipeline(subject: Subject, strategy: str) -> None:
    import torch

    labels = set()
    for text in [*MANY_SCRIPTS, *prose.texts(20, longest=40)]:
        tokenized = subject.tokenized(text)
        with torch.no_grad():
            ids = torch.tensor(tokenized.sequence.token_ids[None].astype(np.int64))
            logits = subject.pipeline.model(ids).logits[0].numpy()
        found = entities(tokenized, logits, LABELS, strategy, raw_scores=False)
        same(found, subject.pipeline(text, aggregation_strategy=strategy), text)
        labels |= {label for entity in found for label in entity.results}
    assert len(labels) >= 3


@settings(max_examples=60, deadline=None)
@given(
    text=some_text, seed=st.integers(0, 2**32), strategy=st.sampled_from(AGGREGATING), spread=st.sampled_from([1, 8])
)
def test_entities_of_random_logits_match_the_pipeline(
    subject: Subject, text: str, seed: int, strategy: str, spread: float
) -> None:
    import torch

    tokenized = subject.tokenized(text)
    logits = np.random.default_rng(seed).normal(0, spread, (tokenized.sequence.num_tokens, len(LABELS)))
    logits = logits.astype(np.float32)
    [inputs] = subject.pipeline.preprocess(text, is_split_into_words=False)
    assert inputs["input_ids"][0].tolist() == tokenized.sequence.token_ids.tolist()
    expected = subject.pipeline.postprocess(
        [inputs | {"logits": torch.tensor(logits)[None]}],
        subject.pipeline._sanitize_parameters(aggregation_strategy=strategy)[2]["aggregation_strategy"],
    )
    same(entities(tokenized, logits, LABELS, strategy, raw_scores=False), expected, text)
    raw = entities(tokenized, logits, LABELS, strategy, raw_scores=True)
    assert [(e.start, e.end, *e.results) for e in raw] == [(e["start"], e["end"], e["entity_group"]) for e in expected]


def test_without_aggregation_every_token_is_an_entity(subject: Subject) -> None:
    tokenizer = subject.pipeline.tokenizer
    for text in MANY_SCRIPTS:
        tokenized = subject.tokenized(text)
        [inputs] = subject.pipeline.preprocess(text, is_split_into_words=False)
        logits = np.random.default_rng(0).normal(0, 3, (tokenized.sequence.num_tokens, len(LABELS))).astype(np.float32)
        found = entities(tokenized, logits, LABELS, "none", raw_scores=False)
        assert [entity.token_id for entity in found] == inputs["input_ids"][0].tolist()
        assert [(entity.start, entity.end) for entity in found] == [
            tuple(o) for o in inputs["offset_mapping"][0].tolist()
        ]
        assert [found[0].token, found[-1].token] == [tokenizer.cls_token, tokenizer.sep_token]
        assert (found[0].start, found[0].end, found[-1].start, found[-1].end) == (0, 0, 0, 0)
        expected = subject.pipeline.gather_pre_entities(
            text, inputs["input_ids"][0], logits, None, inputs["special_tokens_mask"][0].numpy(), None
        )
        assert [entity.token for entity in found[1:-1]] == [entity["word"] for entity in expected]
        exponentials = np.exp(logits.astype(np.float64))
        best = logits.argmax(axis=1)
        for row, entity in enumerate(found):
            [(label, probability)] = entity.results.items()
            assert label == LABELS[best[row]]
            assert probability == pytest.approx(exponentials[row, best[row]] / exponentials[row].sum(), abs=1e-6)
        raw = entities(tokenized, logits, LABELS, "none", raw_scores=True)
        assert [list(entity.results) for entity in raw] == [LABELS] * len(raw)
        np.testing.assert_array_equal([list(entity.results.values()) for entity in raw], logits)


EXAMPLE = TokenizedText(
    text="Unaided Bob",
    sequence=Sequence(np.array([1, 7, 8, 9, 2], np.int32), 5),
    tokens=["[CLS]", "un", "##aided", "bob", "[SEP]"],
    offsets=[(0, 0), (0, 2), (2, 7), (8, 11), (0, 0)],
    is_special=[True, False, False, False, True],
    marks_subwords=True,
)
EXAMPLE_LABELS = ["O", "B-PER", "I-PER"]
EXAMPLE_LOGITS = np.array([[9, 0, 0], [1, 2, 0], [5, 0, -5], [0, 1, 3], [0, 9, 0]], np.float32)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("simple", [("Un", 2.0), ("Bob", 3.0)]),
        ("first", [("Unaided Bob", 2.5)]),
        ("average", [("Bob", 3.0)]),
        ("max", [("Bob", 3.0)]),
    ],
)
def test_raw_scores_of_the_same_groups(strategy: str, expected: list[tuple[str, float]]) -> None:
    found = entities(EXAMPLE, EXAMPLE_LOGITS, EXAMPLE_LABELS, strategy, raw_scores=True)
    assert [(entity.token, entity.results) for entity in found] == [(token, {"PER": n}) for token, n in expected]


def test_average_strategy_selects_the_label_by_probabilities() -> None:
    logits = np.array([[0, 0, 0], [0, 4, 0], [0, 1, 2], [0, 0, 9], [0, 0, 0]], np.float32)
    [entity] = entities(EXAMPLE, logits, EXAMPLE_LABELS, "average", raw_scores=True)
    assert entity == Entity("Unaided Bob", 0, 0, 11, {"PER": (2.5 + 9) / 2})


def test_unknown_token_never_continues_a_word() -> None:
    logits = np.array([[0, 0, 0], [0, 4, 0], [0, 4, 0], [9, 0, 0], [0, 0, 0]], np.float32)
    assert len(entities(EXAMPLE, logits, EXAMPLE_LABELS, "first", raw_scores=False)) == 1
    unknown = replace(EXAMPLE, unk_token_id=8)
    assert len(entities(unknown, logits, EXAMPLE_LABELS, "first", raw_scores=False)) == 2


@pytest.mark.parametrize("strategy", ["none", *AGGREGATING])
def test_not_finite(strategy: str) -> None:
    logits = EXAMPLE_LOGITS.copy()
    logits[0, 1] = np.nan
    with pytest.raises(EngineError, match="not finite"):
        entities(EXAMPLE, logits, EXAMPLE_LABELS, strategy, raw_scores=False)
