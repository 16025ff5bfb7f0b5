"""modules.json: the chain of sentence-transformers' modules behind the transformer, and what their own files say."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from openbei.build.json_file import read_json
from openbei.errors import CheckpointError
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

CHAINS = [
    ["Transformer"],
    ["Transformer", "Pooling"],
    ["Transformer", "Pooling", "Normalize"],
    ["Transformer", "SpladePooling"],
    ["MLMTransformer", "SpladePooling"],
    ["Transformer", "LogitScore"],
]
"""Chains that are implemented. The first is a classifier's, which need not have the file."""

SPLADE_ACTIVATIONS = {"relu": False, "log1p_relu": True}
"""What comes before the logarithm of a term's weight -> whether that is another one."""


class _Module(msgspec.Struct, frozen=True):
    """One step of modules.json."""

    type: str
    path: str = ""

    @property
    def kind(self) -> str:
        """The class name, wherever a version of sentence-transformers keeps the class."""
        package, _, name = self.type.rpartition(".")
        return name if package.split(".")[0] == "sentence_transformers" else self.type


@dataclass(frozen=True, slots=True)
class Chain:
    """What follows the transformer, whose files are in `root`: `Pooling`, `SpladePooling`, `LogitScore`, or nothing."""

    root: Path
    pooling_kind: str | None
    pooling_file: Path
    normalizes: bool

    def check_splade(self) -> bool:
        """Whether SPLADE takes the logarithm of weights twice. Raises CheckpointError for what is not implemented."""
        config = read_json(self.pooling_file, dict[str, Any])
        if (strategy := config.get("pooling_strategy", "max")) != "max":
            raise CheckpointError(f"{self.pooling_file}: pooling_strategy is {strategy!r}; only 'max' is implemented")
        if (activation := config.get("activation_function", "relu")) not in SPLADE_ACTIVATIONS:
            raise CheckpointError(
                f"{self.pooling_file}: activation_function is {activation!r}; known: {', '.join(SPLADE_ACTIVATIONS)}"
            )
        return SPLADE_ACTIVATIONS[activation]

    def pooling(self) -> Pooling:
        """The way of pooling. Raises CheckpointError for one that is not implemented."""
        config = read_json(self.pooling_file, dict[str, Any])
        found = config.get("pooling_mode", [mode for key, mode in _OLD_POOLING_KEYS.items() if config.get(key)])
        match [found] if isinstance(found, str) else found:
            case [mode] if mode in POOLINGS:
                return POOLINGS[mode]
            case modes:
                raise CheckpointError(
                    f"{self.pooling_file}: the pooling is {modes!r}; it must be one of {', '.join(POOLINGS)}"
                )

    def check_width(self, spec: ModelSpec) -> None:
        """Raise CheckpointError unless vectors of the model's width are pooled."""
        config = read_json(self.pooling_file, dict[str, Any])
        size = config.get("embedding_dimension", config.get("word_embedding_dimension", spec.hidden_size))
        if size != spec.hidden_size:
            raise CheckpointError(
                f"{self.pooling_file}: it pools vectors of {size}; the model's have {spec.hidden_size}"
            )


def read_chain(folder: Path) -> Chain:
    """Read modules.json, or find none. Raises CheckpointError for a chain that is not implemented."""
    path = folder / "modules.json"
    if not path.exists():
        return Chain(folder, None, path, False)
    modules = read_json(path, list[_Module])
    kinds = [module.kind for module in modules]
    if kinds not in CHAINS:
        known = "; ".join(", ".join(chain) for chain in CHAINS)
        raise CheckpointError(f"{path} is the chain {', '.join(kinds)}; implemented are: {known}")
    inside = [_inside(folder, module) for module in modules]
    if len(modules) == 1:
        return Chain(inside[0], None, path, False)
    return Chain(inside[0], kinds[1], inside[1] / "config.json", kinds[2:] == ["Normalize"])


def _inside(folder: Path, module: _Module) -> Path:
    if (path := PurePosixPath(module.path)).is_absolute() or ".." in path.parts:
        raise CheckpointError(f"{folder / 'modules.json'}: the path {module.path!r} leaves the checkpoint")
    return folder / path
