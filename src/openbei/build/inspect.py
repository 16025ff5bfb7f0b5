"""Inspect: what a checkpoint's JSON files say that it is. Tensors and the tokenizer are looked at elsewhere."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec

from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.families import Family, find_family
from openbei.spec import ModelSpec, Pooling

POOLINGS: dict[str, Pooling] = {"cls": "cls", "mean": "mean", "lasttoken": "last_token"}
"""sentence-transformers' pooling modes -> ours."""

_OLD_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the JSON files say. `root` is the folder of config.json, weights and tokenizer."""

    root: Path
    family: Family
    spec: ModelSpec
    pooling: Pooling
    normalize: bool
    max_sequence_tokens: int
    lowercases: bool
    decisions: tuple[Decision, ...]


class _Module(msgspec.Struct, frozen=True):
    """One step of modules.json."""

    type: str
    path: str = ""

    @property
    def kind(self) -> str:
        """The class name, wherever a version of sentence-transformers keeps the class."""
        package, _, name = self.type.rpartition(".")
        return name if package.split(".")[0] == "sentence_transformers" else self.type


class _SentenceConfig(msgspec.Struct, frozen=True):
    """sentence_bert_config.json."""

    max_seq_length: int | None = None
    do_lower_case: bool = False
    transformer_task: str = "feature-extraction"


class _TokenizerConfig(msgspec.Struct, frozen=True):
    """tokenizer_config.json; an unlimited tokenizer has a length of 1e30."""

    model_max_length: float | None = None


class _ModelConfig(msgspec.Struct, frozen=True):
    """config_sentence_transformers.json."""

    prompts: dict[str, str] = {}
    default_prompt_name: str | None = None


def inspect_checkpoint(folder: Path, max_num_tokens: int) -> Inspection:
    """Read a sentence-transformers checkpoint. Raises CheckpointError, naming the file."""
    transformer, pooling_module, normalize = _module_chain(folder)
    root = _inside(folder, transformer)
    config = read_json(root / "config.json", dict[str, Any])
    architecture = _architecture(config)
    family = find_family(architecture)
    spec = family.parse(config)
    pooling = _pooling(_inside(folder, pooling_module) / "config.json", spec)
    sentence = _read_optional(root / "sentence_bert_config.json", _SentenceConfig)
    if sentence.transformer_task != "feature-extraction":
        raise CheckpointError(f"sentence_bert_config.json: transformer_task is {sentence.transformer_task!r}")
    length, why = _sequence_length(root, sentence, spec, max_num_tokens)
    decisions = [
        Decision("family", spec.family, f"config.json names the architecture {architecture}"),
        Decision("pooling", pooling, f"{pooling_module.path}/config.json"),
        Decision("normalize", "yes" if normalize else "no", f"modules.json has {'a' if normalize else 'no'} Normalize"),
        Decision("max_sequence_tokens", str(length), why),
    ]
    prompts = _read_optional(folder / "config_sentence_transformers.json", _ModelConfig)
    if prompts.prompts.get(prompts.default_prompt_name or ""):
        reason = "texts are embedded as they are sent; send the prompt in front of them"
        decisions.append(Decision("default prompt", f"{prompts.default_prompt_name} is not applied", reason))
    return Inspection(root, family, spec, pooling, normalize, length, sentence.do_lower_case, tuple(decisions))


def read_json(path: Path, kind: type[_Part]) -> _Part:
    """Decode a JSON file of a checkpoint. Raises CheckpointError, naming it."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_optional(path: Path, kind: type[_Part]) -> _Part:
    return read_json(path, kind) if path.exists() else kind()


def _module_chain(folder: Path) -> tuple[_Module, _Module, bool]:
    modules = read_json(folder / "modules.json", list[_Module])
    kinds = [module.kind for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise CheckpointError(
            f"{folder / 'modules.json'} is the chain {', '.join(kinds)}; "
            "only Transformer, Pooling, and then perhaps Normalize, are implemented yet"
        )
    return modules[0], modules[1], len(modules) == 3


def _inside(folder: Path, module: _Module) -> Path:
    if (path := PurePosixPath(module.path)).is_absolute() or ".." in path.parts:
        raise CheckpointError(f"{folder / 'modules.json'}: the path {module.path!r} leaves the checkpoint")
    return folder / path


def _architecture(config: Mapping[str, Any]) -> str:
    if "auto_map" in config:
        raise CheckpointError(
            "config.json: auto_map asks for code from the repository, which is never run",
            hint="a revision without remote code may exist; set checkpoint_repository.revision",
        )
    if "quantization_config" in config:
        raise CheckpointError("config.json: quantization_config is set; only unquantized weights are read")
    match config.get("architectures"):
        case [str(architecture)]:
            return architecture
        case found:
            raise CheckpointError(f"config.json: architectures is {found!r}; it must name one")


def _pooling(path: Path, spec: ModelSpec) -> Pooling:
    config = read_json(path, dict[str, Any])
    size = config.get("embedding_dimension", config.get("word_embedding_dimension", spec.hidden_size))
    if size != spec.hidden_size:
        raise CheckpointError(f"{path}: it pools vectors of {size}; the model's have {spec.hidden_size}")
    found = config.get("pooling_mode", [mode for key, mode in _OLD_POOLING_KEYS.items() if config.get(key)])
    match [found] if isinstance(found, str) else found:
        case [mode] if mode in POOLINGS:
            return POOLINGS[mode]
        case modes:
            raise CheckpointError(f"{path}: the pooling is {modes!r}; it must be one of {', '.join(POOLINGS)}")


def _sequence_length(root: Path, sentence: _SentenceConfig, spec: ModelSpec, max_num_tokens: int) -> tuple[int, str]:
    limits: dict[str, float] = {"max_position_embeddings of config.json": spec.positions.max_positions}
    limits["max_num_tokens, the token budget of a batch"] = max_num_tokens
    if sentence.max_seq_length is not None:
        limits["max_seq_length of sentence_bert_config.json"] = sentence.max_seq_length
    elif (root / "tokenizer_config.json").exists():
        length = read_json(root / "tokenizer_config.json", _TokenizerConfig).model_max_length
        limits["model_max_length of tokenizer_config.json"] = length or math.inf
    source = min(limits, key=lambda name: limits[name])
    return int(limits[source]), source
