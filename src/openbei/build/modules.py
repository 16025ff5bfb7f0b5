"""modules.json: the chain of sentence-transformers modules, and the head that it describes.

`openbei.build.router` resolves routes; `openbei.build.check` matches the modules' tensors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from openbei.build.json_file import read_json, read_optional
from openbei.build.router import Module, resolve_routes
from openbei.config import Decision, PoolingChoice
from openbei.errors import CheckpointError
from openbei.families import STATIC_MODULES
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
"""Pooling mode in sentence-transformers -> pooling in a spec."""

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
"""Class of torch.nn in the config.json of a Dense -> activation in a spec."""

SPLADE_ACTIVATIONS = {"relu": False, "log1p_relu": True}
"""activation_function of SpladePooling, which is followed by log1p -> whether it takes another logarithm."""

TRANSFORMERS = ("Transformer", "MLMTransformer")
SENTENCE_CONFIG = "config_sentence_transformers.json"
"""sentence-transformers' settings of the whole model."""

CHOICES: dict[PoolingChoice, tuple[str, dict[str, Any]]] = {
    "cls": ("Pooling", {"pooling_mode": "cls"}),
    "mean": ("Pooling", {"pooling_mode": "mean"}),
    "last-token": ("Pooling", {"pooling_mode": "lasttoken"}),
    "splade": ("SpladePooling", {"pooling_strategy": "max"}),
}
"""Value of --pooling, for a checkpoint without modules.json -> module and its config.json."""

MASK = "MultiVectorMask"
"""The module of sentence-transformers that selects the tokens with vectors. PyLate has none, but does the same."""

AFTER_POOLING = ("Dense", "LayerNorm", "Normalize", "Dropout")
"""Modules that can follow a Pooling, in any order and number."""

_SUPPORTED = (
    "Transformer; Transformer, SpladePooling; Transformer, LogitScore; Transformer, Dense; SparseStaticEmbedding; "
    "StaticEmbedding or Transformer, Pooling, then any of " + ", ".join(AFTER_POOLING)
)
_LAYER_NORM_EPS = 1e-5  # torch's default


class _SentenceConfig(msgspec.Struct, frozen=True):
    """config_sentence_transformers.json; `model_type` is the class that saved the model."""

    model_type: str | None = None


class DenseConfig(msgspec.Struct, frozen=True):
    """config.json of a Dense."""

    in_features: Size
    out_features: Size
    bias: bool = True
    activation_function: str = "torch.nn.Tanh"
    module_input_name: Literal["sentence_embedding"] = "sentence_embedding"
    module_output_name: Literal["sentence_embedding"] | None = None
    use_residual: bool = False


class TokenDenseConfig(DenseConfig, frozen=True):
    """config.json of a Dense that projects the rows of tokens."""

    activation_function: str = "torch.nn.Identity"
    module_input_name: Literal["token_embeddings"] = "token_embeddings"  # type: ignore[assignment]
    module_output_name: Literal["token_embeddings"] | None = None  # type: ignore[assignment]


class LayerNormConfig(msgspec.Struct, frozen=True):
    """config.json of a LayerNorm."""

    dimension: Size


class NormalizeConfig(msgspec.Struct, frozen=True):
    """config.json of a Normalize, which is optional."""

    module_input_name: Literal["sentence_embedding"] = "sentence_embedding"
    module_output_name: Literal["sentence_embedding"] | None = None


class TokenNormalizeConfig(msgspec.Struct, frozen=True):
    """config.json of a Normalize of the rows of tokens."""

    module_input_name: Literal["token_embeddings"]
    module_output_name: Literal["token_embeddings"] | None = None


@dataclass(frozen=True, slots=True)
class ModuleStep:
    """A step of the head, with the module's folder and its tensors: checkpoint name -> engine name.

    If it `adds_input`, its input is added to its output.
    """

    step: Step
    folder: Path
    tensors: dict[str, str]
    adds_input: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """The modules after the transformer, whose files are in `root`.

    `pooling_kind` is Pooling, SpladePooling, LogitScore, one of STATIC_MODULES if there is no transformer, MASK for a
    vector of each token, or None. `choice` is the value of --pooling for a checkpoint without modules.json.
    `pooling_source` is the reason for the report.
    """

    root: Path
    pooling_kind: str | None
    pooling_file: Path
    pooling_source: str = ""
    choice: PoolingChoice | None = None
    has_modules_json: bool = True
    after: tuple[Module, ...] = ()
    normalizes: bool = False
    decisions: tuple[Decision, ...] = ()

    @property
    def is_late_interaction(self) -> bool:
        """Whether the modules make a vector for each token."""
        return self.pooling_kind == MASK

    @property
    def static_module(self) -> str | None:
        """The module of STATIC_MODULES, if there is one instead of a transformer."""
        return self.pooling_kind if self.pooling_kind in STATIC_MODULES else None

    def takes_log_twice(self) -> bool:
        """Whether SPLADE weights are log1p of log1p. Raises CheckpointError for unsupported settings."""
        config = self._config()
        if (strategy := config.get("pooling_strategy", "max")) != "max":
            raise CheckpointError(f"{self.pooling_file}: pooling_strategy is {strategy!r}; supported: max")
        if (activation := str(config.get("activation_function", "relu"))) not in SPLADE_ACTIVATIONS:
            supported = ", ".join(SPLADE_ACTIVATIONS)
            raise CheckpointError(f"{self.pooling_file}: activation_function is {activation!r}; supported: {supported}")
        return SPLADE_ACTIVATIONS[activation]

    def poolings(self) -> tuple[Pooling, ...]:
        """The pooling modes, whose outputs are concatenated. Raises CheckpointError."""
        config = self._config()
        modes = config.get("pooling_mode", [mode for key, mode in OLD_POOLING_KEYS.items() if config.get(key)])
        modes = [modes] if isinstance(modes, str) else modes
        if not isinstance(modes, list) or not modes or not all(str(mode) in POOLINGS for mode in modes):
            raise CheckpointError(f"{self.pooling_file}: the pooling is {modes!r}; supported: {', '.join(POOLINGS)}")
        return tuple(POOLINGS[mode] for mode in modes)

    def pools_prompts(self) -> bool:
        """Whether the tokens of a prompt are included in pooling."""
        return self.is_late_interaction or bool(self._config().get("include_prompt", True))

    def _config(self) -> dict[str, Any]:
        """The config.json of the pooling module."""
        if self.choice:
            return CHOICES[self.choice][1]
        return {"pooling_mode": "mean"} if self.static_module else read_json(self.pooling_file, dict[str, Any])

    def steps(self, hidden_size: int) -> Iterator[ModuleStep]:
        """The steps after pooling. Raises CheckpointError if a module's input size does not match."""
        config = self._config()
        size = config.get("embedding_dimension", config.get("word_embedding_dimension", hidden_size))
        if size != hidden_size:
            raise CheckpointError(
                f"{self.pooling_file}: embedding_dimension is {size}; it must be the model's hidden_size, {hidden_size}"
            )
        width = hidden_size * len(self.poolings())
        for module in self.after:
            path = module.folder / "config.json"
            match module.kind:
                case "Dense":
                    dense = read_json(path, DenseConfig)
                    yield dense_step(module, dense, width)
                    width = dense.out_features
                case "LayerNorm":
                    _check_width(path, "dimension", read_json(path, LayerNormConfig).dimension, width)
                    tensors = {"norm.weight": "weight", "norm.bias": "bias"}
                    yield ModuleStep(LayerNorm(eps=_LAYER_NORM_EPS), module.folder, tensors)
                case "Normalize":
                    read_optional(path, NormalizeConfig)
                    yield ModuleStep(UnitNorm(), module.folder, {})


def dense_step(module: Module, dense: DenseConfig, width: int) -> ModuleStep:
    """The step of a Dense after `width` columns. Raises CheckpointError if its input size does not match."""
    path = module.folder / "config.json"
    _check_width(path, "in_features", dense.in_features, width)
    tensors = {"linear.weight": "weight"} | ({"linear.bias": "bias"} if dense.bias else {})
    activation = _activation(path, dense.activation_function)
    if dense.use_residual and activation:
        raise CheckpointError(f"{path}: use_residual is true; it is supported only without an activation")
    if dense.use_residual and dense.in_features != dense.out_features:
        tensors["residual.weight"] = "weight"
    return ModuleStep(
        Dense(out_features=dense.out_features, activation=activation), module.folder, tensors, dense.use_residual
    )


def read_chain(folder: Path, route: str | None = None, pooling: PoolingChoice | None = None) -> Chain:
    """Read modules.json. `route` selects a Router's route; `pooling` is for a checkpoint without modules.json.

    Raises CheckpointError for an unsupported chain, a missing or ambiguous route, and for a `pooling` that is given
    although there is a modules.json.
    """
    path = folder / "modules.json"
    if not path.exists():
        return _chain_without_modules(folder, path, route, pooling)
    if pooling is not None:
        raise CheckpointError(f"{path} defines the pooling; --pooling is {pooling!r}", hint="omit --pooling")
    modules, decisions = resolve_routes(folder, route)
    kinds = [module.kind for module in modules]
    match kinds:
        case [transformer] if transformer in TRANSFORMERS:
            return Chain(modules[0].folder, None, path, decisions=decisions)
        case [transformer, "SpladePooling" | "LogitScore"] if transformer in TRANSFORMERS:
            return Chain(modules[0].folder, kinds[1], modules[1].folder / "config.json", decisions=decisions)
        case ["Transformer", *after] if set(after) <= {"Dense", MASK, "Normalize"} and {"Dense", MASK} & set(after):
            return Chain(modules[0].folder, MASK, path, after=tuple(modules[1:]), decisions=decisions)
        case ["SparseStaticEmbedding"]:
            return Chain(modules[0].folder, kinds[0], path, decisions=decisions)
        case ["StaticEmbedding", *after] if set(after) <= set(AFTER_POOLING):
            return _embedding_chain(folder, modules[0], path, modules[1:], decisions)
        case ["Transformer", "Pooling", *after] if set(after) <= set(AFTER_POOLING):
            return _embedding_chain(folder, modules[0], modules[1].folder / "config.json", modules[2:], decisions)
    raise CheckpointError(f"{path} is the chain {', '.join(kinds)}; supported: {_SUPPORTED}")


def _chain_without_modules(folder: Path, path: Path, route: str | None, pooling: PoolingChoice | None) -> Chain:
    """The chain of --pooling, or of a SparseEncoder saved without modules.json, or none."""
    if route is not None:
        raise CheckpointError(f"{path} has no Router; --route is {route!r}", hint="omit --route")
    source = "--pooling"
    if pooling is None and read_optional(folder / SENTENCE_CONFIG, _SentenceConfig).model_type == "SparseEncoder":
        pooling, source = "splade", f"the default of SparseEncoder, model_type of {SENTENCE_CONFIG}"
    if pooling is None:
        return Chain(folder, None, path, has_modules_json=False)
    kind = CHOICES[pooling][0]
    decisions = (Decision("pooling", "splade", source),) if pooling == "splade" else ()
    return Chain(folder, kind, path, source, pooling, has_modules_json=False, decisions=decisions)


def _embedding_chain(
    folder: Path, first: Module, pooling_file: Path, after: list[Module], decisions: tuple[Decision, ...]
) -> Chain:
    steps = [module for module in after if module.kind != "Dropout"]
    normalizes = bool(steps) and steps[-1].kind == "Normalize"
    if normalizes:
        read_optional(steps.pop().folder / "config.json", NormalizeConfig)
    kind = first.kind if first.kind in STATIC_MODULES else "Pooling"
    source = str(pooling_file.relative_to(folder))
    return Chain(
        first.folder, kind, pooling_file, source, after=tuple(steps), normalizes=normalizes, decisions=decisions
    )


def _check_width(path: Path, key: str, value: int, width: int) -> None:
    if value != width:
        raise CheckpointError(f"{path}: {key} is {value}; it must be the output size of the module before, {width}")


def _activation(path: Path, name: str) -> Activation | None:
    package, _, kind = name.rpartition(".")
    if not f"{package}.".startswith("torch.nn.") or kind not in ACTIVATIONS:
        supported = ", ".join(f"torch.nn.{activation}" for activation in ACTIVATIONS)
        raise CheckpointError(f"{path}: activation_function is {name!r}; supported: {supported}")
    return ACTIVATIONS[kind]
