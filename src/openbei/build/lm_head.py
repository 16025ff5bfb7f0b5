"""Conversion of generative rerankers to classifiers, whose `score` layer has the lm_head rows of the answer tokens.

A generative reranker answers a prompt with "yes" or "no"; its score is the difference of the logits of the two tokens.
These logits are a linear layer of the last token's hidden state, like those of a classifier; other rows are not needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from tokenizers import Tokenizer

from openbei.build.architecture import architecture_of
from openbei.build.json_file import read_json
from openbei.build.modules import Chain
from openbei.build.tokenizer_file import read_tokenizer
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.families.fields import parse_fields
from openbei.prompts import SCORE_TEMPLATES
from openbei.safetensors_file import Array

GENERATIVE = "ForCausalLM"
CLASSIFIER = "ForSequenceClassification"
"""Architecture suffixes."""

_OUTPUT_WEIGHTS = ("lm_head.weight", "model.embed_tokens.weight", "embed_tokens.weight")

Id = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class LogitScoreConfig(msgspec.Struct, frozen=True):
    """config.json of sentence-transformers' LogitScore."""

    true_token_id: Id
    false_token_id: Id | None = None
    module_input_name: str = "causal_logits"


class _OutputConfig(msgspec.Struct, frozen=True):
    """The fields of config.json that affect the output layer."""

    tie_word_embeddings: bool | None = None
    final_logit_softcapping: float | None = None


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """The tokens that become labels, in the order of the labels; `source` is for messages.

    `output_weights` are the possible names of the output layer's weight; the first that exists is used.
    """

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    source: str
    output_weights: tuple[str, ...]

    @property
    def decision(self) -> Decision:
        """For the build report."""
        rows = ", ".join(f"{label!r} ({row})" for label, row in zip(self.labels, self.ids, strict=True))
        return Decision("converted", f"score has the lm_head rows of {rows}", self.source)

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the config.json of the generative model to that of the classifier. Raises CheckpointError."""
        prefix = architecture_of(config).removesuffix(GENERATIVE)
        names = {str(index): label for index, label in enumerate(self.labels)}
        ids = {label: index for index, label in enumerate(self.labels)}
        if len(ids) < len(names):
            raise CheckpointError(f"{self.source}: one token is given twice: {', '.join(self.labels)}")
        changed = {"architectures": [prefix + CLASSIFIER], "id2label": names, "label2id": ids}
        return {**config, **changed, "num_labels": len(names)}

    def tensors(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Convert the tensors of the generative model to those of the classifier. Raises CheckpointError."""
        name = next((name for name in self.output_weights if name in tensors), None)
        if name is None:
            raise CheckpointError(f"the checkpoint has no tensor {' or '.join(self.output_weights)}")
        if "lm_head.bias" in tensors:
            raise CheckpointError("the checkpoint has lm_head.bias; a classifier has no bias")
        if (rows := len(tensors[name])) <= max(self.ids):
            raise CheckpointError(f"tensor {name} has {rows} rows, but {self.source} has the token id {max(self.ids)}")
        others = {other: tensor for other, tensor in tensors.items() if other != "lm_head.weight"}
        return {**others, "score.weight": tensors[name][list(self.ids)]}


def find_answer_tokens(chain: Chain, config: Mapping[str, Any], given: str | None = None) -> AnswerTokens:
    """The answer tokens of a generative reranker: those given, or of its LogitScore, or of its family.

    `given` is separated by commas. Raises CheckpointError for a checkpoint that is not a generative reranker, or whose
    answer tokens are unknown.
    """
    architecture = architecture_of(config)
    prefix = architecture.removesuffix(GENERATIVE)
    if prefix == architecture or chain.pooling_kind not in (None, "LogitScore"):
        model = f"{architecture} with {chain.pooling_kind}" if chain.pooling_kind else architecture
        raise CheckpointError(f"{model} is not a generative reranker; only …{GENERATIVE} architectures have an lm_head")
    output_weights = _output_weights(config, prefix)
    tokenizer = read_tokenizer(chain.root)
    if given is None and chain.pooling_kind == "LogitScore":
        return _from_logit_score(chain.pooling_file, tokenizer, output_weights)
    if given is None:
        labels = next((labels for family, labels in SCORE_TEMPLATES if family == prefix.lower()), ())
    else:
        labels = _split(given)
    if not labels:
        raise CheckpointError(
            f"{architecture}: the answer tokens are unknown",
            hint="give them, the positive one last: bei build … --answer-tokens no,yes",
        )
    source = "answer_tokens" if given else f"the default of {prefix} rerankers"
    ids = tuple(_find_id(label, tokenizer) for label in labels)
    return AnswerTokens(ids, tuple(labels), source, output_weights)


def _split(given: str) -> tuple[str, ...]:
    """Answer tokens that are separated by commas. Raises CheckpointError for an empty one."""
    tokens = tuple(token.strip() for token in given.split(","))
    if not all(tokens):
        raise CheckpointError(f"answer_tokens is {given!r}; it must be tokens separated by commas, such as no,yes")
    return tokens


def _from_logit_score(path: Path, tokenizer: Tokenizer, output_weights: tuple[str, ...]) -> AnswerTokens:
    module = read_json(path, LogitScoreConfig)
    if module.module_input_name != "causal_logits":
        raise CheckpointError(f"{path}: module_input_name is {module.module_input_name!r}; supported: 'causal_logits'")
    both = (module.false_token_id, module.true_token_id)
    ids = tuple(token_id for token_id in both if token_id is not None)
    for token_id in ids:
        if tokenizer.id_to_token(token_id) is None:
            raise CheckpointError(f"{path} has the token id {token_id}, which the tokenizer does not have")
    labels = tuple(tokenizer.decode([i], skip_special_tokens=False) or str(i) for i in ids)
    return AnswerTokens(ids, labels, f"modules.json and {path.parent.name}/{path.name}", output_weights)


def _find_id(token: str, tokenizer: Tokenizer) -> int:
    """Look up a token in the vocabulary, as sentence-transformers does. Raises CheckpointError."""
    token_id: int | None = tokenizer.token_to_id(token)
    if token_id is None:
        parts = " ".join(map(repr, tokenizer.encode(token, add_special_tokens=False).tokens))
        raise CheckpointError(
            f"{token!r} is not a token of the vocabulary; the tokenizer splits it into {parts or 'nothing'}",
            hint="give a token of the vocabulary",
        )
    return token_id


def _output_weights(config: Mapping[str, Any], prefix: str) -> tuple[str, ...]:
    """The names that the output layer's weight can have: lm_head and, unless config.json unties them, the embeddings.

    Raises CheckpointError if the output layer is not linear.
    """
    output = parse_fields({"final_logit_softcapping": 30.0 if prefix == "Gemma2" else None, **config}, _OutputConfig)
    if output.final_logit_softcapping:
        raise CheckpointError(
            f"config.json: final_logit_softcapping is {output.final_logit_softcapping}; classifiers do not support it"
        )
    return _OUTPUT_WEIGHTS[:1] if output.tie_word_embeddings is False else _OUTPUT_WEIGHTS
