"""Rerankers that answer with a word: as classifiers, whose `score` has the rows of lm_head for the words.

A generative reranker reads a prompt and says "yes" or "no"; its score is the logit of one word less that of the other.
Those two logits are a linear map of the last token's state, as a classifier's are, and everything else is left out.
"""

from collections.abc import Mapping, Sequence
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

GENERATES = "ForCausalLM"
CLASSIFIES = "ForSequenceClassification"
_MAPS = ("lm_head.weight", "model.embed_tokens.weight", "embed_tokens.weight")

Id = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]


class LogitScoreConfig(msgspec.Struct, frozen=True):
    """config.json of sentence-transformers' LogitScore."""

    true_token_id: Id
    false_token_id: Id | None = None
    module_input_name: str = "causal_logits"


class _OutputConfig(msgspec.Struct, frozen=True):
    """What config.json says of the map from states to words, beside its size."""

    tie_word_embeddings: bool | None = None
    final_logit_softcapping: float | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """The tokens that become labels, in the labels' order; `source` says where they were named.

    `maps` are the names that the map from states to words can have, the first that is there.
    """

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    source: str
    maps: tuple[str, ...]

    @property
    def decision(self) -> Decision:
        """What the build report says."""
        rows = ", ".join(f"{label!r} ({row})" for label, row in zip(self.labels, self.ids, strict=True))
        return Decision("converted", f"score is lm_head's rows for {rows}", self.source)

    def config(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The classifier's config.json of the generative model's."""
        beginning = architecture_of(config).removesuffix(GENERATES)
        names = {str(index): label for index, label in enumerate(self.labels)}
        ids = {label: index for index, label in enumerate(self.labels)}
        if len(ids) < len(names):
            raise CheckpointError(f"{self.source} name one word twice: {', '.join(self.labels)}")
        made = {"architectures": [beginning + CLASSIFIES], "id2label": names, "label2id": ids}
        return {**config, **made, "num_labels": len(names)}

    def tensors(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """The classifier's tensors of the generative model's; only the words' rows of lm_head are read."""
        name = next((name for name in self.maps if name in tensors), None)
        if name is None:
            raise CheckpointError(f"the checkpoint has no tensor {' or '.join(self.maps)}")
        if "lm_head.bias" in tensors:
            raise CheckpointError("the checkpoint has lm_head.bias; score has none")
        if (rows := len(tensors[name])) <= max(self.ids):
            raise CheckpointError(f"tensor {name} has {rows} rows; {self.source} asks for row {max(self.ids)}")
        kept = {theirs: tensor for theirs, tensor in tensors.items() if theirs != "lm_head.weight"}
        return {**kept, "score.weight": tensors[name][list(self.ids)]}


def find_words(chain: Chain, config: Mapping[str, Any], tokens: Sequence[str] | None = None) -> Words:
    """The words of a generative reranker: `tokens`, else those of its LogitScore, else those of its family's rerankers.

    Raises CheckpointError for a checkpoint that does not answer with words, or with none that are known.
    """
    architecture = architecture_of(config)
    beginning = architecture.removesuffix(GENERATES)
    if beginning == architecture or chain.pooling_kind not in (None, "LogitScore"):
        what = f"{architecture} with {chain.pooling_kind}" if chain.pooling_kind else architecture
        raise CheckpointError(f"{what} does not answer with words; only a …{GENERATES} has an lm_head to convert")
    maps = _maps(config, beginning)
    tokenizer = read_tokenizer(chain.root)
    if tokens is None and chain.pooling_kind == "LogitScore":
        return _words_of_module(chain.pooling_file, tokenizer, maps)
    known = next((words for family, words in SCORE_TEMPLATES if family == beginning.lower()), None)
    if not (words := tokens or known):
        raise CheckpointError(
            f"{architecture}: which words its answers are is not known",
            hint="name their tokens, the one that means yes last: bei convert lm-head … --tokens no,yes",
        )
    source = "the tokens asked for" if tokens else f"the words of {beginning} rerankers"
    return Words(tuple(_id(word, tokenizer) for word in words), tuple(words), source, maps)


def _words_of_module(path: Path, tokenizer: Tokenizer, maps: tuple[str, ...]) -> Words:
    module = read_json(path, LogitScoreConfig)
    if module.module_input_name != "causal_logits":
        raise CheckpointError(
            f"{path}: module_input_name is {module.module_input_name!r}; only 'causal_logits' is read"
        )
    given = (module.false_token_id, module.true_token_id)
    ids = tuple(token_id for token_id in given if token_id is not None)
    for token_id in ids:
        if tokenizer.id_to_token(token_id) is None:
            raise CheckpointError(f"{path} names the token {token_id}; the tokenizer has none of that id")
    labels = tuple(tokenizer.decode([i], skip_special_tokens=False) or str(i) for i in ids)
    return Words(ids, labels, f"modules.json and {path.parent.name}/{path.name}", maps)


def _id(word: str, tokenizer: Tokenizer) -> int:
    """The token of a word. By its name in the vocabulary, as sentence-transformers finds it."""
    token_id: int | None = tokenizer.token_to_id(word)
    if token_id is None:
        parts = tokenizer.encode(word, add_special_tokens=False).tokens
        raise CheckpointError(
            f"{word!r} is not one token of the tokenizer: it becomes {' '.join(map(repr, parts)) or 'nothing'}",
            hint="name a token of its vocabulary",
        )
    return token_id


def _maps(config: Mapping[str, Any], beginning: str) -> tuple[str, ...]:
    """Names of the map to words: lm_head, and embeddings that stand for it unless config.json says that they do not.

    Raises CheckpointError where logits are more than a linear map.
    """
    output = parse_fields({"final_logit_softcapping": 30.0 if beginning == "Gemma2" else None, **config}, _OutputConfig)
    if output.final_logit_softcapping:
        raise CheckpointError(
            f"config.json: final_logit_softcapping is {output.final_logit_softcapping}; a classifier has none"
        )
    return _MAPS[:1] if output.tie_word_embeddings is False else _MAPS
