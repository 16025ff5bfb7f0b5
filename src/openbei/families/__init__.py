"""Model families: architectures as data, one family per file, and the table from architecture name to family.

A family file defines
    parse(config, head) -> ModelSpec   from the decoded config.json; raises CheckpointError for unsupported values
    steps(config, kind) -> tuple       the layers of a head before its final linear layer
    WEIGHTS                            checkpoint tensor name -> engine tensor name. Linear layers and norms are listed
                                       without `.weight` and `.bias`; `{}` is the layer index. Checkpoint tensors with
                                       the same engine tensor are concatenated by rows, in order. A checkpoint tensor
                                       with a tuple of engine tensors is split into equal row blocks; a second `{}` is
                                       the expert index; `.T` transposes each block.
    HEADS                              the same table for each supported head
    TIED                               checkpoint tensor that may be missing -> the tensor it is tied to
    DROPPED                            checkpoint tensors that are ignored
    PREFIX, OLD_SUFFIXES               optional prefixes of tensor names; old suffix -> current suffix
    computed(config, spec)             engine tensors computed from several checkpoint tensors (optional)
    adjusted(config, spec)             engine tensor name -> how its values are changed when stored (optional)
"""

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Literal, Protocol, cast

from openbei.batch import Vectors
from openbei.errors import CheckpointError
from openbei.families.computed import Computed
from openbei.spec import Head, ModelSpec, Step

HeadKind = Literal["embedding", "sequence_labels", "token_labels", "term_weights", "token_vectors"]

FAMILIES: dict[str, str] = {
    "Bert": "openbei.families.bert",
    "Roberta": "openbei.families.roberta",
    "XLMRoberta": "openbei.families.roberta",
    "Camembert": "openbei.families.roberta",
    "DistilBert": "openbei.families.distilbert",
    "Electra": "openbei.families.electra",
    "MPNet": "openbei.families.mpnet",
    "DebertaV2": "openbei.families.deberta_v2",
    "ModernBert": "openbei.families.modernbert",
    "NomicBert": "openbei.families.nomic_bert",
    "JinaBert": "openbei.families.jina_bert",
    "JinaCodeBert": "openbei.families.jina_code",
    "JinaEmbeddingsV3": "openbei.families.jina_xlm_roberta",
    "Gte": "openbei.families.gte",
    "New": "openbei.families.gte",
    "EuroBert": "openbei.families.eurobert",
    "Llama": "openbei.families.llama",
    "LlamaBidirectional": "openbei.families.llama",
    "Mistral": "openbei.families.llama",
    "Qwen2": "openbei.families.llama",
    "Qwen2Bidirectional": "openbei.families.llama",
    "Qwen3": "openbei.families.llama",
    "Qwen3Bidirectional": "openbei.families.llama",
    "Gemma": "openbei.families.gemma",
    "Gemma2": "openbei.families.gemma2",
    "Gemma3Text": "openbei.families.gemma2",
    "Gemma3Bidirectional": "openbei.families.gemma2",
}
"""Architecture prefix -> module."""

RENAMED_BY_REPOSITORY: dict[str, tuple[str, str]] = {"jina-bert-v2-qk-post-norm": ("JinaBert", "JinaCodeBert")}
"""Code repository in config.json -> the architecture prefix in config.json, and the key of FAMILIES to use instead."""

HEADS_BY_SUFFIX: dict[str, tuple[HeadKind, ...]] = {
    "Model": ("embedding",),
    "ForCausalLM": ("embedding",),
    "ForPreTraining": ("embedding",),
    "ForMaskedLM": ("embedding", "term_weights"),
    "ForSequenceClassification": ("sequence_labels",),
    "ForTokenClassification": ("token_labels",),
}
"""Architecture suffix -> supported heads. If there are two, modules.json decides."""

COLBERT = "HF_ColBERT"
"""The architecture of Stanford's ColBERT: a model of another architecture, and a projection of its rows."""

COLBERT_BASES = {
    "bert": "BertModel",
    "distilbert": "DistilBertModel",
    "electra": "ElectraModel",
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
    "deberta-v2": "DebertaV2Model",
    "modernbert": "ModernBertModel",
}
"""`model_type` of an HF_ColBERT -> the other architecture."""

COLBERT_CODE = {
    "jina-bert-implementation": "JinaBertModel",
    "xlm-roberta-flash-implementation": "JinaEmbeddingsV3Model",
}
"""Code repository of an HF_ColBERT -> the other architecture."""

PROJECTION = {"linear": "head.0.dense"}
"""Checkpoint tensor of the projection -> engine tensor."""

STATIC_MODULES: dict[str, HeadKind] = {"StaticEmbedding": "embedding", "SparseStaticEmbedding": "term_weights"}
"""sentence-transformers modules that look up a static table instead of running a transformer -> their head."""

STATIC_FAMILY = "openbei.families.static"


class Family(Protocol):
    """The interface of a family file; see the module's docstring."""

    WEIGHTS: Mapping[str, str | tuple[str, ...]]
    HEADS: Mapping[HeadKind, Mapping[str, str]]
    TIED: Mapping[str, str]
    DROPPED: Collection[str]
    PREFIX: str | tuple[str, ...]
    OLD_SUFFIXES: Mapping[str, str]

    def parse(self, config: Mapping[str, object], head: Head) -> ModelSpec:
        """Convert a decoded config.json. Raises CheckpointError."""
        ...

    def steps(self, config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
        """The layers of a head before its final linear layer."""
        ...

    def computed(self, config: Mapping[str, object], spec: ModelSpec) -> Mapping[str, Computed]:
        """Engine tensor name -> how it is computed; `{}` is the layer index in all names. Optional."""
        ...

    def adjusted(self, config: Mapping[str, object], spec: ModelSpec) -> Mapping[str, Callable[[Vectors], Vectors]]:
        """Engine tensor name -> function of its float32 values, applied before they are stored. Optional."""
        ...


def find_family(
    architecture: str, config: Mapping[str, object] = MappingProxyType({})
) -> tuple[Family, tuple[HeadKind, ...]]:
    """The family of an architecture or of one of STATIC_MODULES, and the heads it supports.

    Raises CheckpointError for an unknown architecture.
    """
    if architecture in STATIC_MODULES:
        return cast(Family, import_module(STATIC_FAMILY)), (STATIC_MODULES[architecture],)
    if prefix := architecture_prefix(architecture, config):
        family = cast(Family, import_module(FAMILIES[prefix]))
        if architecture == COLBERT:
            return family, ("token_vectors",)
        kinds = HEADS_BY_SUFFIX[_resolve_architecture(architecture, config).removeprefix(prefix)]
        if supported := tuple(kind for kind in kinds if kind in family.HEADS):
            return family, supported
    if architecture == COLBERT:
        code = f" with code of {config['auto_map']}" if config.get("auto_map") else ""
        raise CheckpointError(
            f"config.json: {COLBERT} of the model_type {config.get('model_type')!r}{code} is not supported; supported "
            f"are {', '.join(COLBERT_BASES)} without code, and the code of {' and '.join(COLBERT_CODE)}"
        )
    raise CheckpointError(
        f"config.json: unsupported architecture {architecture!r}; supported are {', '.join(FAMILIES)}, "
        f"each followed by one of {', '.join(HEADS_BY_SUFFIX)}"
    )


def architecture_prefix(architecture: str, config: Mapping[str, object] = MappingProxyType({})) -> str:
    """The key of FAMILIES for an architecture, or "" if there is none."""
    name = _resolve_architecture(architecture, config)
    prefixes = (prefix for prefix in FAMILIES if name.startswith(prefix))
    return next((prefix for prefix in prefixes if name.removeprefix(prefix) in HEADS_BY_SUFFIX), "")


def _resolve_architecture(architecture: str, config: Mapping[str, object]) -> str:
    """The architecture's name after RENAMED_BY_REPOSITORY, or that of an HF_ColBERT's other architecture."""
    code = f"{config.get('auto_map')} {config.get('_name_or_path')}"
    if architecture == COLBERT:
        if not config.get("auto_map"):
            return COLBERT_BASES.get(str(config.get("model_type")), architecture)
        return next((base for repository, base in COLBERT_CODE.items() if repository in code), architecture)
    for repository, (prefix, renamed) in RENAMED_BY_REPOSITORY.items():
        if repository in code and architecture.startswith(prefix):
            return renamed + architecture.removeprefix(prefix)
    return architecture
