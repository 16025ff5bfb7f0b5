"""Engine directories on the Hub, on a server of its shape."""

from pathlib import Path

import pytest

from openbei.artifacts import pull, push
from openbei.config import Environment
from openbei.engine_dir import EngineDir, open_engine_dir
from openbei.errors import ConfigError, StoreError, StoreUnreachableError
from tests.checkpoints.hub_server import TOKEN, Hub, serve_hub

REPO = "owner/engine"
URL = f"hf://{REPO}"


def no_progress(done: int, total: int) -> None:
    """Reports nothing."""


def environment_with(hub: Hub, folder: Path, **variables: str) -> Environment:
    cache = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(folder / "hub"), "XDG_CACHE_HOME": str(folder)}
    return Environment.read({**cache, "HF_TOKEN": TOKEN, **variables})


def test_push_and_pull(tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    with serve_hub(REPO, tmp_path / "repository") as hub:
        environment, hub.is_created = environment_with(hub, tmp_path), False
        push(tiny_engine_dir.path, URL, environment, no_progress)
        assert [name for name in hub.requests if name.startswith("POST") and "preupload" not in name] == [
            "POST api/repos/create",
            f"POST api/models/{REPO}/commit/main",
        ]
        folder = pull(URL, environment, no_progress)
        assert folder
        assert open_engine_dir(folder).manifest == tiny_engine_dir.manifest
    assert pull(URL, environment, no_progress) == folder, "the Hub is gone"
    assert pull(URL, environment_with(hub, tmp_path, HF_HUB_OFFLINE="1"), no_progress) == folder
    with pytest.raises(StoreUnreachableError, match=r"is not in the cache .*, and this run is offline"):
        pull(f"{URL}-2", environment_with(hub, tmp_path, HF_HUB_OFFLINE="1"), no_progress)


def test_refusals(tiny_checkpoint: Path, tiny_engine_dir: EngineDir, tmp_path: Path) -> None:
    with serve_hub(REPO, tiny_checkpoint) as hub:
        with pytest.raises(
            StoreError, match=f"{URL} has no engine.json\nhint: for a checkpoint, use {REPO} without hf://"
        ):
            pull(URL, environment_with(hub, tmp_path), no_progress)
        wrong = environment_with(hub, tmp_path, HF_TOKEN="hf_wrong")
        with pytest.raises(StoreError, match=f"{URL}: the Hub responded with status 401\nhint: .*HF_TOKEN") as refusal:
            push(tiny_engine_dir.path, URL, wrong, no_progress)
        assert "hf_wrong" not in str(refusal.value)
        with pytest.raises(StoreError, match="status 404"):
            pull("hf://owner/none", environment_with(hub, tmp_path), no_progress)
    with pytest.raises(StoreError, match=f"{URL}: .*refused"):
        push(tiny_engine_dir.path, URL, environment_with(hub, tmp_path), no_progress)
    for url in ("hf://", "hf://owner", "hf://a/b/c", "hf://../x"):
        with pytest.raises(ConfigError, match="is not the URL of a repository on the Hub"):
            pull(url, environment_with(hub, tmp_path), no_progress)
