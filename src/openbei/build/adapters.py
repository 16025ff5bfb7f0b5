"""Detection of PEFT adapters, which are not supported."""

from pathlib import Path

from openbei.errors import CheckpointError

FILES = ("adapter_config.json", "adapter_model.safetensors")


def refuse_adapters(folder: Path, root: Path) -> None:
    """Raise CheckpointError if a checkpoint is or contains an adapter."""
    for path in (parent / name for parent in (root, folder) for name in FILES):
        if path.is_file():
            raise CheckpointError(
                f"{path} belongs to a PEFT adapter, which is not supported",
                hint="merge it into its base model: model.merge_and_unload().save_pretrained(...)",
            )
