"""The architecture that a config.json names."""

from collections.abc import Mapping
from typing import Any

from openbei.errors import CheckpointError


def architecture_of(config: Mapping[str, Any]) -> str:
    """The one architecture. Raises CheckpointError where there is not one, or weights are quantized."""
    if "quantization_config" in config:
        raise CheckpointError("config.json: quantization_config is set; only unquantized weights are read")
    match config.get("architectures"):
        case [str(architecture)]:
            return architecture
        case found:
            raise CheckpointError(f"config.json: architectures is {found!r}; it must name one")
