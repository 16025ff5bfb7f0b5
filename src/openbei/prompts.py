"""What is put around a text before the model reads it: prompts of embedding models, score templates of rerankers.

Both are data of the engine directory's manifest; applying them is string work, done before the tokenizer.
"""

import re
from collections.abc import Mapping

import msgspec

from openbei.errors import InputError

INPUT_TYPES = {
    "search_query": ("query", "search_query", "web_search_query", "retrieval_query"),
    "search_document": ("document", "passage", "corpus", "search_document", "retrieval_document"),
    "classification": ("classification", "Classification"),
    "clustering": ("clustering", "Clustering"),
}
"""Cohere's `input_type` -> the prompt names that mean it, the most usual first."""

PURPOSES = {
    **INPUT_TYPES,
    "query": INPUT_TYPES["search_query"],
    "passage": INPUT_TYPES["search_document"],
    "document": INPUT_TYPES["search_document"],
    "retrieval.query": INPUT_TYPES["search_query"],
    "retrieval.passage": INPUT_TYPES["search_document"],
    "text-matching": ("STS", "similarity", "sts"),
    "separation": INPUT_TYPES["clustering"],
}
"""The same for Jina's `task` and others' `input_type`."""


class Prompts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`prompts` and `default_prompt_name` of config_sentence_transformers.json: what goes in front of a text.

    `are_pooled` says whether tokens of a prompt count for the embedding as others do.
    """

    by_name: dict[str, str] = {}
    default: str | None = None
    are_pooled: bool = True

    def find(self, name: str | None) -> str:
        """The prompt of a name; of the default's without one; "" where there is none. Raises InputError."""
        if name is None:
            return self.by_name.get(self.default, "") if self.default else ""
        if name not in self.by_name:
            known = ", ".join(self.by_name) or "this model has none"
            raise InputError(f"prompt_name is {name!r}, the prompts are: {known}", param="prompt_name")
        return self.by_name[name]

    def for_input_type(self, input_type: str | None) -> str:
        """The prompt for Cohere's `input_type`; a model that has none for it gets its default. Raises InputError."""
        return self._for(INPUT_TYPES, input_type, "input_type")

    def for_purpose(self, purpose: str | None, param: str) -> str:
        """The same for Jina's `task` and others' `input_type`, whose name `param` is; a prompt of that name is it."""
        if purpose in self.by_name and purpose in PURPOSES:
            return self.find(purpose)
        return self._for(PURPOSES, purpose, param)

    def _for(self, names: Mapping[str, tuple[str, ...]], purpose: str | None, param: str) -> str:
        if purpose is None:
            return self.find(None)
        if purpose not in names:
            raise InputError(f"{param} is {purpose!r}, it can be {', '.join(names)}", param=param)
        return self.find(next((name for name in names[purpose] if name in self.by_name), None))


def fill(text: str, parts: Mapping[str, str]) -> str:
    """A template's text with its places filled, all at once: braces in `parts` mean nothing."""
    return re.sub(r"\{(prompt|query|instruction)\}", lambda match: parts.get(match[1], match[0]), text)


class TextTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an embedding model's chat template puts around a text: `before` and `after` without a prompt, or with one.

    `before_prompted` holds `{prompt}`. Texts and prompts are stripped first if `strips`. No special tokens are added.
    """

    before: str
    after: str
    before_prompted: str
    after_prompted: str
    strips: bool = False

    def around(self, prompt: str) -> tuple[str, str]:
        """What stands before and after a text; "" is no prompt."""
        if not prompt:
            return self.before, self.after
        return fill(self.before_prompted, {"prompt": prompt.strip() if self.strips else prompt}), self.after_prompted


class ScoreTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a reranker wants query and document to be shown; of two labels `positive` is the one that means yes.

    `prefix` holds `{query}` and `{instruction}` and ends where the document begins; `suffix` follows the document.
    `instruction` is the default one; without any, `plain_prefix` stands there instead if there is one. Texts are
    stripped first if `strips`. Special tokens are put around the whole if `adds_special_tokens`.
    """

    prefix: str
    suffix: str
    positive: int
    instruction: str = ""
    plain_prefix: str | None = None
    strips: bool = False
    adds_special_tokens: bool = True

    def before(self, query: str, instruction: str | None = None) -> str:
        """What stands before the document. Braces in query and instruction mean nothing."""
        instruction = self.instruction if instruction is None else instruction
        prefix = self.prefix if instruction or self.plain_prefix is None else self.plain_prefix
        parts = {"query": query, "instruction": instruction}
        return fill(prefix, {name: text.strip() for name, text in parts.items()} if self.strips else parts)

    @property
    def is_instructed(self) -> bool:
        """Whether an instruction has a place in it."""
        return "{instruction}" in self.prefix


QWEN3_RERANKER = ScoreTemplate(
    prefix="<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: ",
    suffix="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    positive=1,
    instruction="Given a web search query, retrieve relevant passages that answer the query",
)
"""Of the model card of Qwen/Qwen3-Reranker-0.6B."""

_MXBAI_SYSTEM = (
    "<|endoftext|><|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.\n"
    "<|im_end|>\n<|im_start|>user\n"
)
MXBAI_RERANK_V2 = ScoreTemplate(
    prefix=_MXBAI_SYSTEM + "instruction: {instruction} \nquery: {query} \ndocument: ",
    plain_prefix=_MXBAI_SYSTEM + "query: {query} \ndocument: ",
    suffix=" \nYou are a search relevance expert who evaluates how well documents match search queries. For each "
    "query-document pair, carefully analyze the semantic relationship between them, then provide your binary relevance "
    "judgment (0 for not relevant, 1 for relevant).\nRelevance:<|im_end|>\n<|im_start|>assistant\n",
    positive=1,
)
"""Of the model card of mixedbread-ai/mxbai-rerank-base-v2."""

SCORE_TEMPLATES: dict[tuple[str, tuple[str, ...]], ScoreTemplate] = {
    ("qwen3", ("no", "yes")): QWEN3_RERANKER,
    ("qwen2", ("0", "1")): MXBAI_RERANK_V2,
}
"""Family and labels of a converted reranker -> its template."""

NVIDIA_RERANK = ScoreTemplate(prefix="question:{query} \n \n passage:", suffix="", positive=0)
"""Of the model card of nvidia/llama-nemotron-rerank-1b-v2."""

OF_ARCHITECTURE: dict[str, ScoreTemplate] = {"LlamaBidirectionalForSequenceClassification": NVIDIA_RERANK}
"""Architecture of rerankers with one label that are all shown pairs in one way -> the template."""
