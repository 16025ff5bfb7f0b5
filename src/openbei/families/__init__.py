"""Families: architectures as data. A file a family; this table says which file an architecture name leads to.

A family file has
    parse(config, head) -> ModelSpec   from the decoded config.json; raises CheckpointError for what the spec cannot say
    steps(config, kind) -> tuple       what a head of that kind does before its last linear map
    WEIGHTS                            checkpoint tensor name -> engine tensor name, a linear map or norm without its
                                       `.weight` and `.bias`; `{}` is the layer; names that share an engine tensor are
                                       stacked by rows, in order; a tuple of engine tensors shares a tensor's rows, as
                                       all experts do, which a second `{}` stands for; `.T` transposes each share
    HEADS                              the same of each kind of head it can have
    TIED                               checkpoint tensor that may be missing -> the one that it is then the same as
    DROPPED                            tensors that are left out on purpose
    PREFIX, OLD_SUFFIXES               what may stand before a name, and older spellings of its end
    computed(config, spec)             engine tensors that are computed from several of the checkpoint, if there are any
    adjusted(config, spec)             engine tensors that are stored otherwise than the checkpoint has them, if any
"""

from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Literal, Protocol, cast

from openbei.batch import Vectors
from openbei.errors import CheckpointError
from openbei.families.computed import Computed
from openbei.spec import Head, ModelSpec, Step

HeadKind = Literal["embedding", "sequence_labels", "token_labels", "term_weights"]

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
"""Beginning of an architecture's name -> file."""

OF_CODE: dict[str, tuple[str, str]] = {"jina-bert-v2-qk-post-norm": ("JinaBert", "JinaCodeBert")}
"""Repository of the code that a config.json is for -> the beginning that it writes, and which of FAMILIES that is."""

ARCHITECTURES: dict[str, tuple[HeadKind, ...]] = {
    "Model": ("embedding",),
    "ForCausalLM": ("embedding",),
    "ForPreTraining": ("embedding",),
    "ForMaskedLM": ("embedding", "term_weights"),
    "ForSequenceClassification": ("sequence_labels",),
    "ForTokenClassification": ("token_labels",),
}
"""Its end -> what it can be built as. Where there are two, modules.json decides."""


TABLES: dict[str, HeadKind] = {"StaticEmbedding": "embedding", "SparseStaticEmbedding": "term_weights"}
"""Modules of sentence-transformers that are no transformer -> what they are built as."""

FAMILY_OF_TABLES = "openbei.families.static"


class Family(Protocol):
    """The face of a family file."""

    WEIGHTS: Mapping[str, str | tuple[str, ...]]
    HEADS: Mapping[HeadKind, Mapping[str, str]]
    TIED: Mapping[str, str]
    DROPPED: Collection[str]
    PREFIX: str | tuple[str, ...]
    OLD_SUFFIXES: Mapping[str, str]

    def parse(self, config: Mapping[str, object], head: Head) -> ModelSpec:
        """The spec of a decoded config.json. Raises CheckpointError."""
        ...

    def steps(self, config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
        """What comes between the layers and the last linear map of a head."""
        ...

    def computed(self, config: Mapping[str, object], spec: ModelSpec) -> Mapping[str, Computed]:
        """Engine tensor name -> how it is computed, `{}` being the layer in all names. Most families do without."""
        ...

    def adjusted(self, config: Mapping[str, object], spec: ModelSpec) -> Mapping[str, Callable[[Vectors], Vectors]]:
        """Engine tensor name -> what is done to its numbers, float32, before they are stored. Most do without."""
        ...


def find_family(
    architecture: str, config: Mapping[str, object] = MappingProxyType({})
) -> tuple[Family, tuple[HeadKind, ...]]:
    """The family of an architecture name of config.json, or of a module of TABLES, and what it can be.

    Raises CheckpointError, naming all.
    """
    if architecture in TABLES:
        return cast(Family, import_module(FAMILY_OF_TABLES)), (TABLES[architecture],)
    if beginning := beginning_of(architecture, config):
        family = cast(Family, import_module(FAMILIES[beginning]))
        kinds = ARCHITECTURES[_by_code(architecture, config).removeprefix(beginning)]
        if offered := tuple(kind for kind in kinds if kind in family.HEADS):
            return family, offered
    raise CheckpointError(
        f"config.json: the architecture {architecture!r} is not one that openbei builds: {', '.join(FAMILIES)}, "
        f"followed by one of {', '.join(ARCHITECTURES)}"
    )


def beginning_of(architecture: str, config: Mapping[str, object] = MappingProxyType({})) -> str:
    """Which of FAMILIES an architecture name begins with, by the code that its config.json asks for; else nothing."""
    name = _by_code(architecture, config)
    known = (beginning for beginning in FAMILIES if name.startswith(beginning))
    return next((beginning for beginning in known if name.removeprefix(beginning) in ARCHITECTURES), "")


def _by_code(architecture: str, config: Mapping[str, object]) -> str:
    """An architecture's name, told apart from that of other code."""
    code = f"{config.get('auto_map')} {config.get('_name_or_path')}"
    for repository, (written, meant) in OF_CODE.items():
        if repository in code and architecture.startswith(written):
            return meant + architecture.removeprefix(written)
    return architecture
