"""The architecture in a config.json."""

from collections.abc import Mapping
from typing import Any

from openbei.errors import CheckpointError


def architecture_of(config: Mapping[str, Any]) -> str:
    """The only entry of `architectures`. Raises CheckpointError, also for quantized weights."""
    if "quantization_config" in config:
        settings = config["quantization_config"]
        method = settings.get("quant_method") if isinstance(settings, Mapping) else None
        by = f" by {method}" if isinstance(method, str) else ""
        raise CheckpointError(
            f"config.json: quantization_config is set: the weights are already quantized{by}, which is not supported",
            hint="build the original checkpoint; --quantization makes a small engine of it",
        )
    match config.get("architectures"):
        case [str(architecture)]:
            return architecture
        case architectures:
            raise CheckpointError(f"config.json: architectures is {architectures!r}; it must be a list with one name")
