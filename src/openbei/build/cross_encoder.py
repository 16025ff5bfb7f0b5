"""A report line on how to get the scores of CrossEncoder.predict, whose activation the server does not apply.

As in BEI and TEI, scores are always probabilities unless `raw_scores` is set.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from openbei.batch import ScoreActivation
from openbei.build.json_file import read_optional
from openbei.build.modules import SENTENCE_CONFIG
from openbei.build.templates import PairFormat
from openbei.config import Decision
from openbei.families.fields import parse_fields


class _Model(msgspec.Struct, frozen=True):
    """config_sentence_transformers.json, or `sentence_transformers` of config.json."""

    activation_fn: str | None = None


class _Config(msgspec.Struct, frozen=True):
    """The keys of config.json; the second is that of older versions."""

    sentence_transformers: _Model | None = None
    sbert_ce_default_activation_function: str | None = None


def predict_decisions(
    folder: Path, config: Mapping[str, Any], labels: tuple[str, ...], pairs: PairFormat, activation: ScoreActivation
) -> Iterator[Decision]:
    """How to get the result of `CrossEncoder.predict`; nothing for a plain classifier without an activation.

    `activation` is that of the server's scores. Raises CheckpointError if an activation is not a string.
    """
    is_reranker = len(labels) == 1 or pairs.template is not None
    path, file = _activation(folder, config)
    if path is None and not is_reranker:
        return
    name = (path or "").rpartition(".")[2]
    if path is None or not path.startswith("torch."):  # without trust_remote_code, CrossEncoder uses its default
        name = "Sigmoid" if is_reranker else "Identity"
    served = {"sigmoid": "Sigmoid", "softmax": "Softmax", "none": "Identity"}[activation]
    if pairs.template:
        served = "Sigmoid"
    route = "/rerank" if is_reranker else "/predict"
    raw = f"scores of {route} with raw_scores: true"
    equivalent = {served: f"scores of {route}", "Identity": raw}.get(name, f"{name} of the {raw}")
    reason = f"{path} in {file}" if path else f"the default, not set in {file}"
    yield Decision("CrossEncoder.predict", equivalent, reason)


def _activation(folder: Path, config: Mapping[str, Any]) -> tuple[str | None, str]:
    """The activation's dotted name and its file, with CrossEncoder's order of precedence."""
    activation = read_optional(folder / SENTENCE_CONFIG, _Model).activation_fn
    if activation and (folder / "modules.json").exists():
        return activation, SENTENCE_CONFIG
    fields = parse_fields(config, _Config)
    model = fields.sentence_transformers or _Model()
    return model.activation_fn or fields.sbert_ce_default_activation_function, "config.json"
