"""The activation that a CrossEncoder of sentence-transformers puts on logits: said in the report, not followed.

Scores are what BEI's and TEI's clients expect: probabilities, unless `raw_scores` is set, whatever a checkpoint says.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from openbei.batch import ScoreActivation
from openbei.build.json_file import read_optional
from openbei.build.modules import SENTENCE_CONFIG
from openbei.build.templates import Pairs
from openbei.config import Decision
from openbei.families.fields import fields_of


class _Model(msgspec.Struct, frozen=True):
    """config_sentence_transformers.json, or `sentence_transformers` of config.json."""

    activation_fn: str | None = None


class _Config(msgspec.Struct, frozen=True):
    """The keys of config.json, the second as older versions write it."""

    sentence_transformers: _Model | None = None
    sbert_ce_default_activation_function: str | None = None


def about_predict(
    folder: Path, config: Mapping[str, Any], labels: tuple[str, ...], pairs: Pairs, activation: ScoreActivation
) -> Iterator[Decision]:
    """What `CrossEncoder.predict` gives, and how to get it here; nothing of a plain classifier that says nothing.

    `activation` is what the scores of a server are. Raises CheckpointError where a key is no text.
    """
    is_reranker = len(labels) == 1 or pairs.template is not None
    path, where = _activation(folder, config)
    if path is None and not is_reranker:
        return
    name = (path or "").rpartition(".")[2]
    if path is None or not path.startswith("torch."):  # what it would have to be trusted for is not run there either
        name = "Sigmoid" if is_reranker else "Identity"
    ours = "Sigmoid" if pairs.template else {"sigmoid": "Sigmoid", "softmax": "Softmax", "none": "Identity"}[activation]
    route = "/rerank" if is_reranker else "/predict"
    gives = {ours: f"the scores of {route}", "Identity": f"those of {route} with raw_scores: true"}
    why = f"{where} says {path}" if path else f"the default; {where} does not say"
    yield Decision("CrossEncoder.predict", gives.get(name, f"{name} of {gives['Identity']}"), why)


def _activation(folder: Path, config: Mapping[str, Any]) -> tuple[str | None, str]:
    """Dotted name of the activation, and the file that says so, in the order in which CrossEncoder looks."""
    saved = read_optional(folder / SENTENCE_CONFIG, _Model).activation_fn
    if saved and (folder / "modules.json").exists():
        return saved, SENTENCE_CONFIG
    given = fields_of(config, _Config)
    named = given.sentence_transformers and given.sentence_transformers.activation_fn
    return named or given.sbert_ce_default_activation_function, "config.json"
