"""Source LOCAL: a checkpoint folder on this machine."""

from pathlib import Path

from openbei.checkpoints.source import Progress, check_no_revision, fingerprint_of, time_stamp
from openbei.config import Environment
from openbei.errors import CheckpointError, did_you_mean
from openbei.truss import CheckpointRepository


class LocalFolder:
    """A local folder."""

    def fetch(
        self, repository: CheckpointRepository, environment: Environment, *, is_offline: bool, progress: Progress
    ) -> Path:
        """See `CheckpointSource`. The folder itself. Raises CheckpointError if a revision is set."""
        folder = Path(repository.repo)
        check_no_revision(repository)
        if not folder.is_dir():
            problem = "is a file, not a folder" if folder.exists() else "does not exist"
            raise CheckpointError(f"the checkpoint folder {folder} {problem}", hint=_similar_folder(folder))
        return folder

    def fingerprint(self, folder: Path) -> str:
        """See `CheckpointSource`. Weights are represented by size and modification time."""
        return fingerprint_of(folder, time_stamp)


def _similar_folder(folder: Path) -> str | None:
    """A hint if there is a folder with a similar name."""
    try:
        return did_you_mean(str(folder), [str(other) for other in folder.parent.iterdir() if other.is_dir()])
    except OSError:
        return None
