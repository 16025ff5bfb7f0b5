"""The JSON files of a checkpoint that describe the model. `openbei.build.inspect` interprets them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from openbei.build.adapters import refuse_adapters
from openbei.build.architecture import architecture_of
from openbei.build.json_file import read_json, read_optional
from openbei.build.late_interaction import LateSettings, read_late_settings
from openbei.build.lm_head import AnswerTokens, find_answer_tokens
from openbei.build.modules import SENTENCE_CONFIG, Chain, read_chain
from openbei.build.sentence_config import SentenceConfig, read_sentence_config
from openbei.build.static_config import static_config
from openbei.config import PoolingChoice
from openbei.prompts import Prompts


class ModelSettings(msgspec.Struct, frozen=True):
    """config_sentence_transformers.json, which sentence-transformers only reads if there is a modules.json."""

    prompts: dict[str, str | None] = {}
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_active_dims: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def named_prompts(self, *, are_pooled: bool) -> Prompts:
        """The prompts, without those that are null."""
        named = {name: text for name, text in self.prompts.items() if text is not None}
        return Prompts(named, self.default_prompt_name, are_pooled)


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The decoded JSON files of a checkpoint; `late` are the settings of late interaction.

    `architecture` is that in config.json. `config` is config.json, or that of the classifier if `answer_tokens` convert
    a generative model to one.
    """

    folder: Path
    chain: Chain
    config: Mapping[str, Any]
    architecture: str
    sentence: SentenceConfig
    settings: ModelSettings
    late: LateSettings | None
    answer_tokens: AnswerTokens | None

    @property
    def root(self) -> Path:
        """The folder of config.json, the weights and the tokenizer."""
        return self.chain.root


def read_files(
    folder: Path,
    route: str | None,
    pooling: PoolingChoice | None,
    *,
    converts: bool,
    answer_tokens: str | None,
) -> Files:
    """Read the files. Raises CheckpointError, naming the file."""
    chain = read_chain(folder, route, pooling)
    root = chain.root
    refuse_adapters(folder, root)
    static = chain.static_module
    sentence = read_sentence_config(root) if chain.has_modules_json and not static else SentenceConfig()
    config = static_config(root, static) if static else read_json(root / "config.json", dict[str, Any])
    config = {**config, **sentence.config}
    converts = converts or answer_tokens is not None or chain.pooling_kind == "LogitScore"
    labels = find_answer_tokens(chain, config, answer_tokens) if converts else None
    late = read_late_settings(folder, chain, architecture_of(config))
    settings = read_optional(folder / SENTENCE_CONFIG, ModelSettings) if chain.has_modules_json else ModelSettings()
    if late:
        settings = msgspec.structs.replace(settings, prompts=late.without_markers(settings.prompts))
    return Files(
        folder=folder,
        chain=chain,
        config=labels.config(config) if labels else config,
        architecture=architecture_of(config),
        sentence=sentence,
        late=late,
        settings=settings,
        answer_tokens=labels,
    )
