"""The architecture in a config.json."""

from collections.abc import Mapping
from typing import Any

from openbei.errors import CheckpointError


def architecture_of(config: Mapping[str, Any]) -> str:
    """The only entry of `architectures`. Raises CheckpointError, also for quantized weights."""
    if "quantization_config" in config:
        raise CheckpointError("config.json: quantization_config is set; quantized checkpoints are not supported")
    match config.get("architectures"):
        case [str(architecture)]:
            return architecture
        case architectures:
            raise CheckpointError(f"config.json: architectures is {architectures!r}; it must be a list with one name")
