"""PEFT adapters: found, and refused by name."""

from pathlib import Path

from openbei.errors import CheckpointError

FILES = ("adapter_config.json", "adapter_model.safetensors")


def refuse_adapters(folder: Path, root: Path) -> None:
    """Raise CheckpointError where a checkpoint is an adapter, or has one beside its weights."""
    for path in (place / name for place in (root, folder) for name in FILES):
        if path.is_file():
            raise CheckpointError(
                f"{path} is a PEFT adapter, which transformers adds to the weights of its base model",
                hint="merge it once with peft: model.merge_and_unload().save_pretrained(...)",
            )
