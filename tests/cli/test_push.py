"""`bei push`, and every other command with the URL of what was pushed."""

import json
import subprocess
from pathlib import Path

from openbei.engine_dir import EngineDir
from tests.emulators import Emulator, free_port

from .conftest import BEI, Run, run_or_kill


def test_serve_from_an_artifact(
    bei: Run, variables: dict[str, str], s3: Emulator, tiny_engine_dir: EngineDir, tmp_path: Path
) -> None:
    """With an empty cache and without a hub, the answers are those of the engine directory."""
    url = s3.url("pushed/tiny")
    hub = f"http://127.0.0.1:{free_port()}"
    variables |= {**s3.variables, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub, "HTTPS_PROXY": hub}
    pushed = bei("push", tiny_engine_dir.path, url)
    assert (pushed.returncode, pushed.stdout) == (0, f"{url}\n")
    variables["XDG_CACHE_HOME"] = str(tmp_path / "empty")
    expected = bei("embed", tiny_engine_dir.path, "a text")
    assert bei("embed", url, "a text").stdout == expected.stdout
    described = bei("info", url)
    assert described.returncode == 0
    assert str(tmp_path / "empty/openbei/artifacts") in described.stdout
    variables["OPENBEI_OFFLINE"] = "1"
    assert bei("embed", url, "a text").stdout == expected.stdout


def test_a_checkpoint_in_a_store(
    bei: Run, variables: dict[str, str], s3: Emulator, tiny_checkpoint: Path, tiny_engine_dir: EngineDir
) -> None:
    """Without a manifest, the URL is that of a checkpoint."""
    variables |= {"TRUSS_SECRET_store": s3.secret, "OPENBEI_SECRET_NAME": "store", "HF_HUB_OFFLINE": "0"}
    found = bei("embed", s3.upload(tiny_checkpoint, "pushed/checkpoint"), "a text")
    assert found.returncode == 0, found.stderr
    assert found.stdout == bei("embed", tiny_engine_dir.path, "a text").stdout


def test_many_processes_at_once(
    variables: dict[str, str], s3: Emulator, tiny_engine_dir: EngineDir, bei: Run, tmp_path: Path
) -> None:
    """They start with an empty cache that they share, and all of them answer."""
    url = s3.url("pushed/many")
    variables |= {**s3.variables, "HF_HUB_OFFLINE": "0"}
    assert bei("push", tiny_engine_dir.path, url).returncode == 0
    command = [*BEI, "embed", url, "a text"]
    running = [
        subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = {each.communicate(timeout=120)[0] for each in running}
    assert answers == {bei("embed", tiny_engine_dir.path, "a text").stdout}


def test_being_killed(
    variables: dict[str, str], s3: Emulator, tiny_checkpoint: Path, tiny_engine_dir: EngineDir, bei: Run
) -> None:
    """A build that was killed while it fetched or wrote is followed by one that succeeds."""
    url = s3.upload(tiny_checkpoint, "pushed/killed")
    variables |= {**s3.variables, "HF_HUB_OFFLINE": "0"}
    for after_s in (0.5, 0.8, 1.1, 1.4):
        run_or_kill("build", url, after_s=after_s, variables=variables)
    assert bei("embed", url, "a text").stdout == bei("embed", tiny_engine_dir.path, "a text").stdout


def test_refusals(bei: Run, variables: dict[str, str], s3: Emulator, tiny_engine_dir: EngineDir) -> None:
    wrong = json.loads(s3.wrong_secret)
    variables |= {"TRUSS_SECRET_store": s3.wrong_secret, "OPENBEI_SECRET_NAME": "store", "HF_HUB_OFFLINE": "0"}
    for command in (("push", tiny_engine_dir.path, s3.url("x")), ("embed", s3.url("x"), "a text")):
        failed = bei(*command)
        assert failed.returncode == 1
        assert "error: s3://models/x" in failed.stderr
        assert "with the secret store: access denied" in failed.stderr
        assert wrong["secret_access_key"] not in failed.stderr
        assert "Traceback" not in failed.stderr
    assert bei("push", tiny_engine_dir.path, "owner/name").returncode == 2
