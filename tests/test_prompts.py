"""Prompts by name and by Cohere's input type, and score templates of rerankers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbei.errors import InputError
from openbei.prompts import MXBAI_RERANK_V2, NVIDIA_RERANK, QWEN3_RERANKER, SCORE_TEMPLATES, Prompts, ScoreTemplate

PROMPTS = Prompts(by_name={"query": "query: ", "passage": "passage: ", "none": ""}, default="passage")

QWEN3 = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: {instruction}\n'
    "<Query>: {query}\n<Document>: {doc}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
MXBAI = (
    "<|endoftext|><|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n"
    "<|im_end|>\n<|im_start|>user\nquery: {query} \ndocument: {doc} \n"
    "You are a search relevance expert who evaluates how well documents match search queries. For each query-document "
    "pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment "
    "(0 for not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n"
)


def test_by_name() -> None:
    assert PROMPTS.find("query") == "query: "
    assert PROMPTS.find("none") == ""
    assert PROMPTS.find(None) == "passage: "
    assert Prompts().find(None) == ""
    assert Prompts(default="gone").find(None) == ""


@pytest.mark.parametrize(("prompts", "known"), [(PROMPTS, "query, passage, none"), (Prompts(), "none")])
def test_unknown_name(prompts: Prompts, known: str) -> None:
    with pytest.raises(InputError, match=f"prompt_name is 'other'; the model's prompts are: {known}") as caught:
        prompts.find("other")
    assert caught.value.param == "prompt_name"


@pytest.mark.parametrize(
    ("input_type", "expected"),
    [
        ("search_query", "query: "),
        ("search_document", "passage: "),
        ("clustering", "passage: "),  # the model has none for it, so the default
        (None, "passage: "),
    ],
)
def test_by_input_type(input_type: str | None, expected: str) -> None:
    assert PROMPTS.for_input_type(input_type) == expected


def test_most_common_name_wins() -> None:
    prompts = Prompts(by_name={"passage": "second", "document": "first"})
    assert prompts.for_input_type("search_document") == "first"
    assert Prompts().for_input_type("search_query") == ""


def test_unknown_input_type() -> None:
    with pytest.raises(InputError, match="input_type is 'query'; it must be search_query, ") as caught:
        PROMPTS.for_input_type("query")
    assert caught.value.param == "input_type"


@pytest.mark.parametrize("instruction", [None, "Find {query} in {doc}"])
def test_qwen3(instruction: str | None) -> None:
    shown = QWEN3_RERANKER.render_prefix("a {query} of {0} {}", instruction) + "the document" + QWEN3_RERANKER.suffix
    default = "Given a web search query, retrieve relevant passages that answer the query"
    head, tail = QWEN3.split("{query}")
    expected = head.replace("{instruction}", instruction or default) + "a {query} of {0} {}"
    assert shown == expected + tail.replace("{doc}", "the document")


def test_mxbai() -> None:
    shown = MXBAI_RERANK_V2.render_prefix("a query") + "the document" + MXBAI_RERANK_V2.suffix
    assert shown == MXBAI.format(query="a query", doc="the document")
    instructed = MXBAI_RERANK_V2.render_prefix("a query", "Be strict")
    assert "<|im_start|>user\ninstruction: Be strict \nquery: a query \ndocument: " in instructed


def test_nvidia() -> None:
    shown = NVIDIA_RERANK.render_prefix("a query") + "the document" + NVIDIA_RERANK.suffix
    assert shown == "question:a query \n \n passage:the document"
    assert (NVIDIA_RERANK.is_instructed, QWEN3_RERANKER.is_instructed) == (False, True)


@settings(deadline=None)
@given(query=st.text("{}queryinstructon \\1", max_size=30), instruction=st.text("{}queryinstructon \\1", max_size=30))
def test_braces_and_backslashes_are_literal(query: str, instruction: str) -> None:
    template = ScoreTemplate(prefix="A[{instruction}]B{query}C", suffix="", positive=0, plain_prefix="AB{query}C")
    line = f"[{instruction}]" if instruction else ""
    assert template.render_prefix(query, instruction) == f"A{line}B{query}C"


def test_positive_labels_are_yes_and_one() -> None:
    positives = {labels[template.positive] for (_, labels), template in SCORE_TEMPLATES.items()}
    assert positives == {"yes", "1"}
