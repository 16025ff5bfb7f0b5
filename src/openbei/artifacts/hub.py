"""Artifacts on the Hugging Face Hub: hf://owner/name, or hf://owner/name@revision."""

import re
from pathlib import Path

from openbei.config import Environment
from openbei.engine_dir import MANIFEST, TOKENIZER, WEIGHTS, is_engine_dir, open_engine_dir
from openbei.errors import ConfigError, StoreError, StoreUnreachableError

SCHEME = "hf://"
FILES = (MANIFEST, WEIGHTS, TOKENIZER)


def is_url(url: str) -> bool:
    """Whether a URL is on the Hub."""
    return url.startswith(SCHEME)


def push(engine_dir: Path, url: str, environment: Environment) -> int:
    """Commit the files of an engine directory; a new repository is private. Returns the bytes of the files."""
    from huggingface_hub import HfApi

    repo, revision = _parse(url)
    manifest = open_engine_dir(engine_dir).manifest
    api = HfApi(endpoint=environment.hf_endpoint, token=environment.hf_token)
    try:
        if not api.repo_exists(repo):
            api.create_repo(repo, private=True)
        api.upload_folder(
            repo_id=repo,
            folder_path=engine_dir,
            revision=revision,
            allow_patterns=list(FILES),
            commit_message=f"Push the engine directory of {manifest.model_name}",
        )
    except Exception as error:  # the errors of a connection depend on the version of huggingface_hub
        raise _store_error(url, error) from error
    return sum(record.bytes for record in manifest.files.values())


def pull(url: str, environment: Environment) -> Path:
    """The snapshot in the Hub's cache. Raises StoreError, also for a repository that is not an artifact."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repo, revision = _parse(url)
    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                cache_dir=environment.hf_cache,
                endpoint=environment.hf_endpoint,
                token=environment.hf_token,
                local_files_only=environment.is_offline,
                allow_patterns=list(FILES),
            )
        )
    except LocalEntryNotFoundError as error:
        reason = "this run is offline" if environment.is_offline else "the Hub cannot be reached"
        raise StoreUnreachableError(f"{url} is not in the cache {environment.hf_cache}, and {reason}") from error
    except (HfHubHTTPError, OSError) as error:
        raise _store_error(url, error) from error
    if not is_engine_dir(folder):
        raise StoreError(f"{url} has no {MANIFEST}", hint=f"for a checkpoint, use {repo} without {SCHEME}")
    return folder


def _parse(url: str) -> tuple[str, str | None]:
    repo, _, revision = url.removeprefix(SCHEME).rstrip("/").partition("@")
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", repo):
        raise ConfigError(
            f"{url!r} is not the URL of a repository on the Hub", hint="the form is hf://owner/name or …@revision"
        )
    return repo, revision or None


def _store_error(url: str, error: Exception) -> StoreError:
    response = getattr(error, "response", None)
    if response is not None and response.status_code in (401, 403, 404):
        problem = f"the Hub responded with status {response.status_code}"
        return StoreError(f"{url}: {problem}", hint="check the name, and set HF_TOKEN to a token with access to it")
    return StoreError(f"{url}: {str(error).splitlines()[0][:200]}")
