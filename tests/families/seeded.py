"""Random weights for checkpoints of models that are in no library, with their repositories' tensor names."""

import json
from pathlib import Path
from typing import Any

import torch


def write_config(folder: Path, config: dict[str, Any]) -> int:
    """Replace a checkpoint's config.json, but keep its vocab_size, which is returned."""
    vocab_size: int = json.loads((folder / "config.json").read_text())["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": vocab_size}))
    return vocab_size


class SeededTensors:
    """Named random tensors, with enough variance to make tokens differ."""

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self.by_name: dict[str, torch.Tensor] = {}

    def add(self, name: str, *shape: int, scale: float = 1.0) -> None:
        """Add a normal tensor with mean 0 and standard deviation `scale`."""
        self.by_name[name] = torch.randn(*shape, generator=self._random) * scale

    def add_linear(self, name: str, rows: int, columns: int, *, bias: bool = True) -> None:
        """Add a linear layer that roughly preserves variance."""
        self.add(f"{name}.weight", rows, columns, scale=1.5 * columns**-0.5)
        if bias:
            self.add(f"{name}.bias", rows, scale=0.2)

    def add_norm(self, name: str, width: int) -> None:
        """Add a norm with weights around 1, and its bias."""
        self.add(f"{name}.weight", width, scale=0.2)
        self.by_name[f"{name}.weight"] += 1
        self.add(f"{name}.bias", width, scale=0.2)
