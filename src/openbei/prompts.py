"""Prompts and chat templates of embedding models, and score templates of rerankers.

All are data in the engine directory's manifest, and are applied to strings before tokenization.
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
"""Cohere's `input_type` -> equivalent prompt names, the most common first."""

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
"""Jina's `task`, or another API's `input_type` -> equivalent prompt names, the most common first."""


class Prompts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`prompts` and `default_prompt_name` of config_sentence_transformers.json.

    `are_pooled` says whether the tokens of a prompt are included in pooling.
    """

    by_name: dict[str, str] = {}
    default: str | None = None
    are_pooled: bool = True

    def find(self, name: str | None) -> str:
        """The prompt `name`, or the default prompt for None, which may be "". Raises InputError."""
        if name is None:
            return self.by_name.get(self.default, "") if self.default else ""
        if name not in self.by_name:
            known = ", ".join(self.by_name) or "none"
            raise InputError(f"prompt_name is {name!r}; the model's prompts are: {known}", param="prompt_name")
        return self.by_name[name]

    def for_input_type(self, input_type: str | None) -> str:
        """The prompt for Cohere's `input_type`, or else the default prompt. Raises InputError."""
        return self._for(INPUT_TYPES, input_type, "input_type")

    def for_purpose(self, purpose: str | None, param: str) -> str:
        """The prompt for Jina's `task` or another API's `input_type`, or else the default prompt. Raises InputError.

        A prompt with the name `purpose` takes precedence. `param` is the request's field.
        """
        if purpose in self.by_name and purpose in PURPOSES:
            return self.find(purpose)
        return self._for(PURPOSES, purpose, param)

    def _for(self, names: Mapping[str, tuple[str, ...]], purpose: str | None, param: str) -> str:
        if purpose is None:
            return self.find(None)
        if purpose not in names:
            raise InputError(f"{param} is {purpose!r}; it must be {', '.join(names)}", param=param)
        return self.find(next((name for name in names[purpose] if name in self.by_name), None))


def fill(text: str, parts: Mapping[str, str]) -> str:
    """Replace the placeholders of a template. Braces in `parts` are literal."""
    return re.sub(r"\{(prompt|query|instruction)\}", lambda match: parts.get(match[1], match[0]), text)


class TextTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An embedding model's chat template as text before and after the input, without and with a prompt.

    `before_prompted` contains `{prompt}`. If `strips`, texts and prompts are stripped first. No special tokens are
    added.
    """

    before: str
    after: str
    before_prompted: str
    after_prompted: str
    strips: bool = False

    def prefix_and_suffix(self, prompt: str) -> tuple[str, str]:
        """The text before and after an input; "" is no prompt."""
        if not prompt:
            return self.before, self.after
        return fill(self.before_prompted, {"prompt": prompt.strip() if self.strips else prompt}), self.after_prompted


class ScoreTemplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reranker's prompt for a query and a document; `positive` is the index of the label for relevant documents.

    The document is between `prefix`, which contains `{query}` and `{instruction}`, and `suffix`. `instruction` is the
    default; if it is empty, `plain_prefix` replaces `prefix`. If `strips`, texts are stripped first. If
    `adds_special_tokens`, the tokenizer adds special tokens around the prompt.
    """

    prefix: str
    suffix: str
    positive: int
    instruction: str = ""
    plain_prefix: str | None = None
    strips: bool = False
    adds_special_tokens: bool = True

    def render_prefix(self, query: str, instruction: str | None = None) -> str:
        """The prompt up to the document. Braces in the query and instruction are literal."""
        instruction = self.instruction if instruction is None else instruction
        prefix = self.prefix if instruction or self.plain_prefix is None else self.plain_prefix
        parts = {"query": query, "instruction": instruction}
        return fill(prefix, {name: text.strip() for name, text in parts.items()} if self.strips else parts)

    @property
    def is_instructed(self) -> bool:
        """Whether the prompt has a placeholder for an instruction."""
        return "{instruction}" in self.prefix


QWEN3_RERANKER = ScoreTemplate(
    prefix="<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: ",
    suffix="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    positive=1,
    instruction="Given a web search query, retrieve relevant passages that answer the query",
)
"""From the model card of Qwen/Qwen3-Reranker-0.6B."""

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
"""From the model card of mixedbread-ai/mxbai-rerank-base-v2."""

SCORE_TEMPLATES: dict[tuple[str, tuple[str, ...]], ScoreTemplate] = {
    ("qwen3", ("no", "yes")): QWEN3_RERANKER,
    ("qwen2", ("0", "1")): MXBAI_RERANK_V2,
}
"""Family and labels of a converted generative reranker -> template."""

NVIDIA_RERANK = ScoreTemplate(prefix="question:{query} \n \n passage:", suffix="", positive=0)
"""From the model card of nvidia/llama-nemotron-rerank-1b-v2."""

TEMPLATE_OF_ARCHITECTURE: dict[str, ScoreTemplate] = {"LlamaBidirectionalForSequenceClassification": NVIDIA_RERANK}
"""Architecture of rerankers with one label -> template."""
