"""LOCAL: a checkpoint folder that is here already."""

from pathlib import Path

from openbei.config import Environment
from openbei.errors import CheckpointError
from openbei.truss import CheckpointRepository


def fetch_from_folder(repository: CheckpointRepository, environment: Environment) -> Path:
    """The folder itself. Raises CheckpointError where it is none, or a revision is asked of it."""
    folder = Path(repository.repo)
    if repository.revision is not None:
        raise CheckpointError(f"checkpoint_repository.revision is {repository.revision!r}; a LOCAL folder has none")
    if not folder.is_dir():
        raise CheckpointError(f"the checkpoint folder {folder} does not exist")
    return folder
