"""modules.json: the chain of sentence-transformers' modules, and what follows of it for a head.

Routes are resolved in `openbei.build.router`; tensors of modules are checked in `openbei.build.check`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from openbei.build.json_file import read_json, read_optional
from openbei.build.router import Module, routed
from openbei.config import Decision, PoolingChoice
from openbei.errors import CheckpointError
from openbei.families import TABLES
from openbei.families.fields import Size
from openbei.spec import Activation, Dense, LayerNorm, Pooling, Step, UnitNorm

POOLINGS: dict[str, Pooling] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last_token",
}
"""sentence-transformers' pooling modes -> ours."""

OLD_POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}

ACTIVATIONS: dict[str, Activation | None] = {
    "Identity": None,
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "Sigmoid": "sigmoid",
    "SiLU": "silu",
}
"""Classes of torch.nn that a Dense may name -> ours."""

SPLADE_ACTIVATIONS = {"relu": False, "log1p_relu": True}
"""What comes before the logarithm of a term's weight -> whether that is another one."""

TRANSFORMERS = ("Transformer", "MLMTransformer")
SENTENCE_CONFIG = "config_sentence_transformers.json"
"""What sentence-transformers keeps of a model as a whole, beside modules.json."""

CHOICES: dict[PoolingChoice, tuple[str, dict[str, Any]]] = {
    "cls": ("Pooling", {"pooling_mode": "cls"}),
    "mean": ("Pooling", {"pooling_mode": "mean"}),
    "last-token": ("Pooling", {"pooling_mode": "lasttoken"}),
    "splade": ("SpladePooling", {"pooling_strategy": "max"}),
}
"""Pooling that is asked for, where there is no modules.json -> the module, and its config.json."""

AFTER_POOLING = ("Dense", "LayerNorm", "Normalize", "Dropout")
"""Modules that may follow a Pooling, in any order and number."""

_IMPLEMENTED = (
    "Transformer; Transformer, SpladePooling; Transformer, LogitScore; SparseStaticEmbedding; "
    "StaticEmbedding or Transformer, Pooling, then any of " + ", ".join(AFTER_POOLING)
)
_LAYER_NORM_EPS = 1e-5  # torch's default, which the module keeps


class _Saved(msgspec.Struct, frozen=True):
    """config_sentence_transformers.json: the class that saved it."""

    model_type: str | None = None


class DenseConfig(msgspec.Struct, frozen=True):
    """config.json of a Dense."""

    in_features: Size
    out_features: Size
    bias: bool = True
    activation_function: str = "torch.nn.Tanh"
    module_input_name: Literal["sentence_embedding"] = "sentence_embedding"
    module_output_name: Literal["sentence_embedding"] | None = None
    use_residual: Literal[False] = False


class LayerNormConfig(msgspec.Struct, frozen=True):
    """config.json of a LayerNorm."""

    dimension: Size


class NormalizeConfig(msgspec.Struct, frozen=True):
    """config.json of a Normalize, which need not be there."""

    module_input_name: Literal["sentence_embedding"] = "sentence_embedding"
    module_output_name: Literal["sentence_embedding"] | None = None


@dataclass(frozen=True, slots=True)
class ModuleStep:
    """A step of the head that is a module of the chain: its folder, and which tensors are there as engine tensors."""

    step: Step
    folder: Path
    tensors: dict[str, str]


@dataclass(frozen=True, slots=True)
class Chain:
    """What follows the transformer, whose files are in `root`.

    A `Pooling` and more, a `SpladePooling`, a `LogitScore`, or nothing. Where there is no transformer, `pooling_kind`
    is the module of TABLES that is there instead. Without a modules.json it may be one of CHOICES, and `pooling_source`
    says why.
    """

    root: Path
    pooling_kind: str | None
    pooling_file: Path
    pooling_source: str = ""
    choice: PoolingChoice | None = None
    is_listed: bool = True
    after: tuple[Module, ...] = ()
    normalizes: bool = False
    decisions: tuple[Decision, ...] = ()

    @property
    def table(self) -> str | None:
        """The module that is there instead of a transformer."""
        return self.pooling_kind if self.pooling_kind in TABLES else None

    def check_splade(self) -> bool:
        """Whether SPLADE takes the logarithm of weights twice. Raises CheckpointError for what is not implemented."""
        config = self._config()
        if (strategy := config.get("pooling_strategy", "max")) != "max":
            raise CheckpointError(f"{self.pooling_file}: pooling_strategy is {strategy!r}; only 'max' is implemented")
        if (activation := str(config.get("activation_function", "relu"))) not in SPLADE_ACTIVATIONS:
            raise CheckpointError(
                f"{self.pooling_file}: activation_function is {activation!r}; known: {', '.join(SPLADE_ACTIVATIONS)}"
            )
        return SPLADE_ACTIVATIONS[activation]

    def poolings(self) -> tuple[Pooling, ...]:
        """The ways of pooling, in order. Raises CheckpointError for one that is not implemented."""
        config = self._config()
        found = config.get("pooling_mode", [mode for key, mode in OLD_POOLING_KEYS.items() if config.get(key)])
        modes = [found] if isinstance(found, str) else found
        if not isinstance(modes, list) or not modes or not all(str(mode) in POOLINGS for mode in modes):
            raise CheckpointError(f"{self.pooling_file}: the pooling is {modes!r}; known: {', '.join(POOLINGS)}")
        return tuple(POOLINGS[mode] for mode in modes)

    def pools_prompts(self) -> bool:
        """Whether tokens of a prompt are pooled as others are."""
        return bool(self._config().get("include_prompt", True))

    def _config(self) -> dict[str, Any]:
        """The Pooling's; a table does what it does by default."""
        if self.choice:
            return CHOICES[self.choice][1]
        return {"pooling_mode": "mean"} if self.table else read_json(self.pooling_file, dict[str, Any])

    def steps(self, hidden_size: int) -> Iterator[ModuleStep]:
        """What is done with pooled vectors. Raises CheckpointError for a module that does not fit the one before."""
        config = self._config()
        size = config.get("embedding_dimension", config.get("word_embedding_dimension", hidden_size))
        if size != hidden_size:
            raise CheckpointError(f"{self.pooling_file}: it pools vectors of {size}; the model's have {hidden_size}")
        width = hidden_size * len(self.poolings())
        for module in self.after:
            path = module.folder / "config.json"
            match module.kind:
                case "Dense":
                    dense = read_json(path, DenseConfig)
                    _check_width(path, "in_features", dense.in_features, width)
                    width = dense.out_features
                    tensors = {"linear.weight": "weight"} | ({"linear.bias": "bias"} if dense.bias else {})
                    activation = _activation(path, dense.activation_function)
                    yield ModuleStep(Dense(out_features=width, activation=activation), module.folder, tensors)
                case "LayerNorm":
                    _check_width(path, "dimension", read_json(path, LayerNormConfig).dimension, width)
                    tensors = {"norm.weight": "weight", "norm.bias": "bias"}
                    yield ModuleStep(LayerNorm(eps=_LAYER_NORM_EPS), module.folder, tensors)
                case "Normalize":
                    read_optional(path, NormalizeConfig)
                    yield ModuleStep(UnitNorm(), module.folder, {})


def read_chain(folder: Path, route: str | None = None, pooling: PoolingChoice | None = None) -> Chain:
    """Read modules.json, or find none, for which there may be a `pooling`; `route` is that of a Router with several.

    Raises CheckpointError for a chain that is not implemented, for a route that is not there or has to be chosen, and
    for a pooling that is asked for beside a modules.json.
    """
    path = folder / "modules.json"
    if not path.exists():
        return _chosen_chain(folder, path, route, pooling)
    if pooling is not None:
        raise CheckpointError(f"{path} says how to pool; {pooling!r} was asked for", hint="leave --pooling out")
    modules, decisions = routed(folder, route)
    kinds = [module.kind for module in modules]
    match kinds:
        case [transformer] if transformer in TRANSFORMERS:
            return Chain(modules[0].folder, None, path, decisions=decisions)
        case [transformer, "SpladePooling" | "LogitScore"] if transformer in TRANSFORMERS:
            return Chain(modules[0].folder, kinds[1], modules[1].folder / "config.json", decisions=decisions)
        case ["SparseStaticEmbedding"]:
            return Chain(modules[0].folder, kinds[0], path, decisions=decisions)
        case ["StaticEmbedding", *after] if set(after) <= set(AFTER_POOLING):
            return _embedding_chain(folder, modules[0], path, modules[1:], decisions)
        case ["Transformer", "Pooling", *after] if set(after) <= set(AFTER_POOLING):
            return _embedding_chain(folder, modules[0], modules[1].folder / "config.json", modules[2:], decisions)
    raise CheckpointError(f"{path} is the chain {', '.join(kinds)}; implemented are: {_IMPLEMENTED}")


def _chosen_chain(folder: Path, path: Path, route: str | None, pooling: PoolingChoice | None) -> Chain:
    """A checkpoint without modules.json: pooled as asked for, or as by the SparseEncoder that saved it, or not."""
    if route is not None:
        raise CheckpointError(f"{path} has no Router; the route {route!r} was asked for", hint="leave --route out")
    why = "asked for by --pooling"
    if pooling is None and read_optional(folder / SENTENCE_CONFIG, _Saved).model_type == "SparseEncoder":
        pooling, why = "splade", f"{SENTENCE_CONFIG} says SparseEncoder, whose default it is without a modules.json"
    if pooling is None:
        return Chain(folder, None, path, is_listed=False)
    kind = CHOICES[pooling][0]
    decisions = (Decision("pooling", "splade", why),) if pooling == "splade" else ()
    return Chain(folder, kind, path, why, pooling, is_listed=False, decisions=decisions)


def _embedding_chain(
    folder: Path, first: Module, pooling_file: Path, after: list[Module], decisions: tuple[Decision, ...]
) -> Chain:
    counting = [module for module in after if module.kind != "Dropout"]
    normalizes = bool(counting) and counting[-1].kind == "Normalize"
    if normalizes:
        read_optional(counting.pop().folder / "config.json", NormalizeConfig)
    kind = first.kind if first.kind in TABLES else "Pooling"
    source = str(pooling_file.relative_to(folder))
    return Chain(
        first.folder, kind, pooling_file, source, after=tuple(counting), normalizes=normalizes, decisions=decisions
    )


def _check_width(path: Path, key: str, given: int, width: int) -> None:
    if given != width:
        raise CheckpointError(f"{path}: {key} is {given}; what comes before it gives {width} columns")


def _activation(path: Path, name: str) -> Activation | None:
    package, _, kind = name.rpartition(".")
    if not f"{package}.".startswith("torch.nn.") or kind not in ACTIVATIONS:
        known = ", ".join(f"torch.nn.{one}" for one in ACTIVATIONS)
        raise CheckpointError(f"{path}: activation_function is {name!r}; known: {known}")
    return ACTIVATIONS[kind]
