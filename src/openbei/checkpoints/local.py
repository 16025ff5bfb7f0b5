"""LOCAL: a checkpoint folder that is here already."""

from pathlib import Path

from openbei.checkpoints.source import fingerprint_of, time_stamp
from openbei.config import Environment
from openbei.errors import CheckpointError, did_you_mean
from openbei.truss import CheckpointRepository


class LocalFolder:
    """The folder itself."""

    def fetch(self, repository: CheckpointRepository, environment: Environment, *, is_offline: bool) -> Path:
        """See `CheckpointSource`. Raises CheckpointError for a revision, too, which folders do not have."""
        folder = Path(repository.repo)
        if repository.revision is not None:
            raise CheckpointError(f"checkpoint_repository.revision is {repository.revision!r}; a LOCAL folder has none")
        if not folder.is_dir():
            what = "is a file, not a folder" if folder.exists() else "does not exist"
            raise CheckpointError(f"the checkpoint folder {folder} {what}", hint=similar_folder(folder))
        return folder

    def fingerprint(self, folder: Path) -> str:
        """See `CheckpointSource`. Weights count with size and time of modification."""
        return fingerprint_of(folder, time_stamp)


def similar_folder(folder: Path) -> str | None:
    """A hint for a folder that is almost there."""
    try:
        return did_you_mean(str(folder), [str(other) for other in folder.parent.iterdir() if other.is_dir()])
    except OSError:
        return None
