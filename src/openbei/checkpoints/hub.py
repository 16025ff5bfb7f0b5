"""HF: the Hugging Face Hub's cache and download, through huggingface_hub, whose errors become ours here."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from openbei.config import Environment
from openbei.errors import DownloadError
from openbei.truss import CheckpointRepository

ALLOW_PATTERNS = ["*.json", "*.safetensors", "*.jinja"]
"""All that a build reads: never pickled weights, never code."""


def fetch_from_hub(repository: CheckpointRepository, environment: Environment) -> Path:
    """The snapshot folder of a repository, from the cache where nothing newer is on the Hub or it is out of reach.

    Raises DownloadError.
    """
    from huggingface_hub import snapshot_download

    with _hub_errors(repository, environment):
        return Path(
            snapshot_download(
                repository.repo,
                revision=repository.revision,
                cache_dir=environment.hf_cache,
                endpoint=environment.hf_endpoint,
                token=environment.hf_token,
                local_files_only=environment.hf_offline,
                allow_patterns=ALLOW_PATTERNS,
            )
        )


_ACCESS_HINT = "set HF_TOKEN to a token that may read it"
_ONLINE_HINT = "unset HF_HUB_OFFLINE, or check the way to the Hub"


@contextlib.contextmanager
def _hub_errors(repository: CheckpointRepository, environment: Environment) -> Iterator[None]:
    from huggingface_hub import errors

    revision = f" at revision {repository.revision}" if repository.revision else ""
    what = f"{repository.repo}{revision} cannot be downloaded"
    try:
        yield
    except errors.HFValidationError as error:
        raise DownloadError(
            f"{repository.repo!r} is not a Hub id: {error}", hint="owner/name; for a folder, source: LOCAL"
        ) from error
    except errors.GatedRepoError as error:
        raise DownloadError(f"{what}: access is granted on request", hint=_ACCESS_HINT) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"{what}: the repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(f"{what}: no such repository, or a private one", hint=_ACCESS_HINT) from error
    except errors.LocalEntryNotFoundError as error:
        raise DownloadError(f"{what}: it is not in the cache {environment.hf_cache}", hint=_ONLINE_HINT) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise DownloadError(
            f"{what}: the Hub answered {status}: {error.server_message or 'no reason given'}",
            hint=_ACCESS_HINT if status in (401, 403) else None,
        ) from error
    except OSError as error:
        hint = "free some space, or set HF_HUB_CACHE to a larger disk" if error.errno == errno.ENOSPC else None
        raise DownloadError(f"{what}: {error}", hint=hint) from error
