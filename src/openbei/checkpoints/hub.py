"""Source HF: download from the Hugging Face Hub with huggingface_hub; its errors become DownloadError."""

import contextlib
import errno
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from openbei.checkpoints.source import Progress, fingerprint_of, time_stamp
from openbei.config import Environment
from openbei.errors import DownloadError
from openbei.truss import CheckpointRepository

_log = logging.getLogger(__name__)

ALLOW_PATTERNS = ["*.json", "*.safetensors", "*.jinja"]
"""The files that a build reads: no pickled weights, no code."""


class Hub:
    """The Hub with its cache, which is used if it is up to date or the Hub is unreachable."""

    def fetch(
        self, repository: CheckpointRepository, environment: Environment, *, is_offline: bool, progress: Progress
    ) -> Path:
        """See `CheckpointSource`. The snapshot folder in the cache. huggingface_hub shows its own progress bars."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        if not is_offline:
            _log.info("fetching %s from %s, cache %s", repository.repo, _host(environment), environment.hf_cache)
        with _hub_errors(repository, environment, is_offline=is_offline):
            return Path(
                snapshot_download(
                    repository.repo,
                    revision=repository.revision,
                    cache_dir=environment.hf_cache,
                    endpoint=environment.hf_endpoint,
                    token=environment.secrets.find(repository.runtime_secret_name) or environment.hf_token,
                    local_files_only=is_offline,
                    allow_patterns=ALLOW_PATTERNS,
                )
            )

    def fingerprint(self, folder: Path) -> str:
        """See `CheckpointSource`.

        Weights are represented by the names of their blobs in the cache, which are hashes.
        """
        return fingerprint_of(folder, lambda path: path.resolve().name if path.is_symlink() else time_stamp(path))


def _host(environment: Environment) -> str:
    return environment.hf_endpoint or "https://huggingface.co"


def _root_cause(error: BaseException) -> BaseException:
    """The first exception of a chain, usually from the operating system."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _access_hint(repository: CheckpointRepository) -> str:
    return f"set HF_TOKEN, or the secret {repository.runtime_secret_name}, to a token with read access"


def _hint_with_folder(repository: CheckpointRepository, hint: str) -> str:
    """The hint, preceded by one for a mistyped local folder."""
    return f"there is no folder {repository.repo} in {Path.cwd()}; for a Hub id, {hint}"


@contextlib.contextmanager
def _hub_errors(repository: CheckpointRepository, environment: Environment, *, is_offline: bool) -> Iterator[None]:
    from huggingface_hub import errors

    revision = f" at revision {repository.revision}" if repository.revision else ""
    what = f"{repository.repo}{revision} cannot be downloaded"
    try:
        yield
    except errors.HFValidationError as error:
        raise DownloadError(
            f"{repository.repo!r} is not a Hub id: {error}", hint="use owner/name, or source: LOCAL for a folder"
        ) from error
    except errors.GatedRepoError as error:
        raise DownloadError(f"{what}: the repository is gated", hint=_access_hint(repository)) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"{what}: the repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"{what}: the repository does not exist or is private",
            hint=_hint_with_folder(repository, _access_hint(repository)),
        ) from error
    except errors.LocalEntryNotFoundError as error:
        not_cached = f"it is not in the cache {environment.hf_cache}"
        if is_offline:
            reason = f"{not_cached}, and this run is offline"
            hint = "unset HF_HUB_OFFLINE and OPENBEI_OFFLINE to download it"
        else:
            reason = f"{_host(environment)} cannot be reached ({_root_cause(error)}), and {not_cached}"
            hint = "check the network, HTTPS_PROXY and HF_ENDPOINT"
        raise DownloadError(f"{what}: {reason}", hint=_hint_with_folder(repository, hint)) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise DownloadError(
            f"{what}: the Hub responded with status {status}: {error.server_message or 'no message'}",
            hint=_access_hint(repository) if status in (401, 403) else None,
        ) from error
    except OSError as error:
        space_hint = "free some space, or set HF_HUB_CACHE to a larger disk" if error.errno == errno.ENOSPC else None
        raise DownloadError(f"{what}: {error}", hint=space_hint) from error
