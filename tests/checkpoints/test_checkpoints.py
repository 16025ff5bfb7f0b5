"""Checkpoint sources: a fake Hub, its cache, and local folders."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from openbei.build import build, why_stale
from openbei.checkpoints import REFUSED_SOURCES, SOURCES, fetch_checkpoint
from openbei.config import Environment, deployment_for_model
from openbei.errors import CheckpointError, DownloadError
from openbei.truss import CheckpointRepository, Source
from tests.checkpoints.hub_server import COMMIT, GATED, PRIVATE, TOKEN, Hub, serve_hub

REPO = "owner/tiny-bert"


@pytest.fixture
def hub(checkpoint_copy: Path) -> Iterator[Hub]:
    (checkpoint_copy / "pytorch_model.bin").write_bytes(b"a pickle")
    (checkpoint_copy / "modeling.py").write_text("raise SystemExit")
    with serve_hub(REPO, checkpoint_copy) as hub:
        yield hub


def environment_with(hub: Hub, folder: Path, **variables: str) -> Environment:
    return Environment.read({"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(folder / "hub"), **variables})


def repository(repo: str = REPO, revision: str | None = None) -> CheckpointRepository:
    return CheckpointRepository(repo=repo, revision=revision)


def test_download_then_cache(hub: Hub, tmp_path: Path) -> None:
    environment = environment_with(hub, tmp_path)
    folder = fetch_checkpoint(repository(), environment)
    assert folder.name == COMMIT
    assert (folder / "1_Pooling/config.json").is_file()
    assert (folder / "model.safetensors").read_bytes() == (hub.folder / "model.safetensors").read_bytes()
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.py")), "pickles and code are not downloaded"
    fetched = [request for request in hub.requests if "safetensors" in request and "resolve" in request]
    hub.requests.clear()
    assert fetch_checkpoint(repository(), environment) == folder
    assert fetched
    assert not [request for request in hub.requests if "safetensors" in request], "a second fetch uses the cache"


def test_from_the_cache_when_the_hub_is_gone(checkpoint_copy: Path, tmp_path: Path) -> None:
    with serve_hub(REPO, checkpoint_copy) as hub:
        environment = environment_with(hub, tmp_path)
        deployment = deployment_for_model(REPO)
        engine_dir = build(deployment, tmp_path / "engine", environment=environment)
        hub.requests.clear()
        assert why_stale(engine_dir, deployment, environment) is None
        assert not hub.requests, "serving only uses the cache"
    assert engine_dir.manifest.source == f"HF {REPO} {COMMIT}"
    assert fetch_checkpoint(repository(), environment).name == COMMIT
    assert fetch_checkpoint(repository(), environment_with(hub, tmp_path, HF_HUB_OFFLINE="1")).name == COMMIT
    elsewhere = environment_with(hub, tmp_path / "other", HF_HUB_OFFLINE="1")
    assert why_stale(engine_dir, deployment, elsewhere) is None, "a missing checkpoint does not make an engine stale"
    with pytest.raises(DownloadError, match=r"it is not in the cache .*\nhint: .*unset HF_HUB_OFFLINE"):
        fetch_checkpoint(repository(), elsewhere)
    refused = rf"{hub.endpoint} cannot be reached \(.*Connection refused\), and it is not in the cache"
    with pytest.raises(DownloadError, match=rf"{refused}.*\nhint: there is no folder {REPO} in"):
        fetch_checkpoint(repository(), environment_with(hub, tmp_path / "other"))


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        (
            repository("owner/none"),
            "owner/none cannot be downloaded: the repository does not exist or is private\n"
            "hint: there is no folder owner/none in .*HF_TOKEN",
        ),
        (repository(PRIVATE), "the repository does not exist or is private\nhint: .*HF_TOKEN"),
        (repository(GATED), "the repository is gated\nhint: .*HF_TOKEN"),
        (repository(revision="v9"), "at revision v9 cannot be downloaded: the repository has no such revision"),
        (repository("../up"), "is not a Hub id"),
    ],
    ids=["404", "401", "gated", "revision", "id"],
)
def test_refusals(requested: CheckpointRepository, message: str, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=message):
        fetch_checkpoint(requested, environment_with(hub, tmp_path))


def test_token(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=r"responded with status 401: .*Invalid credentials.*\nhint: .*HF_TOKEN"
    ) as refusal:
        fetch_checkpoint(repository(PRIVATE), environment_with(hub, tmp_path, HF_TOKEN="hf_wrong"))
    assert "hf_wrong" not in str(refusal.value)
    assert fetch_checkpoint(repository(GATED), environment_with(hub, tmp_path, HF_TOKEN=TOKEN)).name == COMMIT


def test_a_full_disk(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(DownloadError, match=r"No space left on device\nhint: .*HF_HUB_CACHE"):
        fetch_checkpoint(repository(), environment_with(hub, tmp_path))


def test_local(tiny_checkpoint: Path, environment: Environment) -> None:
    local = CheckpointRepository(source="LOCAL", repo=str(tiny_checkpoint))
    assert fetch_checkpoint(local, environment) == tiny_checkpoint
    with pytest.raises(CheckpointError, match="it must not be set for LOCAL"):
        fetch_checkpoint(msgspec.structs.replace(local, revision="main"), environment)
    with pytest.raises(CheckpointError, match="does not exist"):
        fetch_checkpoint(msgspec.structs.replace(local, repo="/nowhere"), environment)
    with pytest.raises(CheckpointError, match=f"does not exist\nhint: did you mean {tiny_checkpoint}"):
        fetch_checkpoint(msgspec.structs.replace(local, repo=f"{tiny_checkpoint}s"), environment)
    with pytest.raises(CheckpointError, match="is a file, not a folder"):
        fetch_checkpoint(msgspec.structs.replace(local, repo=str(tiny_checkpoint / "config.json")), environment)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90868376\n"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "2_Dense/model.safetensors"])
def test_pointers_of_git_lfs(name: str, checkpoint_copy: Path, environment: Environment) -> None:
    (checkpoint_copy / name).parent.mkdir(exist_ok=True)
    (checkpoint_copy / name).write_text(POINTER)
    with pytest.raises(
        CheckpointError, match=rf"{name} is a Git LFS pointer instead of the file\nhint: git lfs install"
    ):
        fetch_checkpoint(CheckpointRepository(source="LOCAL", repo=str(checkpoint_copy)), environment)


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ((), "save the model with save_pretrained"),
        (("model.safetensors", "tokenizer.json"), "save_pretrained"),
        (("model-Q8_0.gguf",), "GGUF"),
        (("model.onnx",), "ONNX"),
        (("inner/config.json",), r"did you mean .*/inner\?"),
    ],
)
def test_folders_that_are_not_a_model(
    names: tuple[str, ...], hint: str, tmp_path: Path, environment: Environment
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(
        CheckpointError, match=rf"is not a model: it has neither config.json nor modules.json\nhint: .*{hint}"
    ):
        fetch_checkpoint(CheckpointRepository(source="LOCAL", repo=str(tmp_path)), environment)


def test_every_source_is_supported_or_refused(environment: Environment) -> None:
    assert SOURCES.keys() | REFUSED_SOURCES.keys() == set(get_args(Source))
    for source in REFUSED_SOURCES:
        with pytest.raises(CheckpointError, match=f"source is {source}: only Baseten's own platform .*\nhint: .*LOCAL"):
            fetch_checkpoint(CheckpointRepository(source=source, repo="project"), environment)


def test_a_token_of_another_name(hub: Hub, tmp_path: Path) -> None:
    """runtime_secret_name comes before HF_TOKEN."""
    named = CheckpointRepository(repo=GATED, runtime_secret_name="our-hub")
    environment = environment_with(hub, tmp_path, TRUSS_SECRET_our_hub="x", HF_TOKEN="hf_wrong")
    with pytest.raises(DownloadError, match="hint: set HF_TOKEN, or the secret our-hub, to a token"):
        fetch_checkpoint(named, environment)
    (tmp_path / "our-hub").write_text(TOKEN + "\n")
    environment = environment_with(hub, tmp_path, OPENBEI_SECRETS=str(tmp_path), HF_TOKEN="hf_wrong")
    assert fetch_checkpoint(named, environment).name == COMMIT
