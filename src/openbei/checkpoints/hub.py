"""HF: the Hugging Face Hub's cache and download, through huggingface_hub, whose errors become ours here."""

import contextlib
import errno
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from openbei.checkpoints.source import fingerprint_of, time_stamp
from openbei.config import Environment
from openbei.errors import DownloadError
from openbei.truss import CheckpointRepository

_log = logging.getLogger(__name__)

ALLOW_PATTERNS = ["*.json", "*.safetensors", "*.jinja"]
"""All that a build reads: never pickled weights, never code."""


class Hub:
    """The Hub's cache, and the Hub where it has something newer and is in reach."""

    def fetch(self, repository: CheckpointRepository, environment: Environment, *, is_offline: bool) -> Path:
        """See `CheckpointSource`. The snapshot folder in the cache."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        if not is_offline:
            host, cache = _host(environment), environment.hf_cache
            _log.info("fetching %s from %s, as far as it is not in %s", repository.repo, host, cache)
        with _hub_errors(repository, environment, is_offline=is_offline):
            return Path(
                snapshot_download(
                    repository.repo,
                    revision=repository.revision,
                    cache_dir=environment.hf_cache,
                    endpoint=environment.hf_endpoint,
                    token=environment.hf_token,
                    local_files_only=is_offline,
                    allow_patterns=ALLOW_PATTERNS,
                )
            )

    def fingerprint(self, folder: Path) -> str:
        """See `CheckpointSource`. Weights count with the names of their blobs in the cache, which are their hashes."""
        return fingerprint_of(folder, lambda path: path.resolve().name if path.is_symlink() else time_stamp(path))


def _host(environment: Environment) -> str:
    return environment.hf_endpoint or "https://huggingface.co"


def _first_cause(error: BaseException) -> BaseException:
    """Where a chain of exceptions began: what the operating system said."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


_ACCESS_HINT = "set HF_TOKEN to a token that may read it"


def _folder_hint(repository: CheckpointRepository, hint: str) -> str:
    """The hint, and that there is no such folder: what looks like an id may be meant as one."""
    return f"if {repository.repo} is a folder, there is none in {Path.cwd()}; else {hint}"


@contextlib.contextmanager
def _hub_errors(repository: CheckpointRepository, environment: Environment, *, is_offline: bool) -> Iterator[None]:
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
        raise DownloadError(
            f"{what}: no such repository, or a private one", hint=_folder_hint(repository, _ACCESS_HINT)
        ) from error
    except errors.LocalEntryNotFoundError as error:
        absent = f"it is not in the cache {environment.hf_cache}"
        if is_offline:
            why, hint = f"{absent}, and this run is offline", "unset HF_HUB_OFFLINE and OPENBEI_OFFLINE to download it"
        else:
            why = f"{_host(environment)} cannot be reached ({_first_cause(error)}), and {absent}"
            hint = "check the network, HTTPS_PROXY and HF_ENDPOINT"
        raise DownloadError(f"{what}: {why}", hint=_folder_hint(repository, hint)) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise DownloadError(
            f"{what}: the Hub answered {status}: {error.server_message or 'no reason given'}",
            hint=_ACCESS_HINT if status in (401, 403) else None,
        ) from error
    except OSError as error:
        room = "free some space, or set HF_HUB_CACHE to a larger disk" if error.errno == errno.ENOSPC else None
        raise DownloadError(f"{what}: {error}", hint=room) from error
