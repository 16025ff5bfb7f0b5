"""`bei check`: what it shows of a config, and its exit status."""

from pathlib import Path

import yaml

from tests.truss_check.mutations import BASE

from .conftest import Run


def written(folder: Path, config: object) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_nothing_is_refused(bei: Run, variables: dict[str, str], tmp_path: Path) -> None:
    variables["TRUSS_SECRET_hf_access_token"] = "hf_verysecret"
    checked = bei("check", written(tmp_path, {**BASE, "environment_variables": {"MAX_BATCH_TOKENS": 4096}}))
    assert checked.returncode == 0, checked.stderr
    for line in (
        "  checkpoint_repository                   HF owner/name, revision main",
        "  runtime_secret_name                     hf_access_token, which was found",
        "  environment_variables.MAX_BATCH_TOKENS  for `bei serve`  (read when this config is served; not stored in",
    ):
        assert line in checked.stdout
    assert "  resources.use_gpu  a setting of the hosting platform\n" in checked.stdout
    assert checked.stdout.endswith("nothing is refused\n")
    assert "verysecret" not in checked.stdout + checked.stderr


def test_refused_by_truss_only(bei: Run, tmp_path: Path) -> None:
    checked = bei("check", written(tmp_path, {**BASE, "resources": {"cpu": 4}}))
    assert checked.returncode == 1
    assert "refused by Baseten (truss 0.18.36)\n  resources.cpu  it must be text: quote it\n" in checked.stdout
    assert "refused by bei" not in checked.stdout


def test_refused_by_both(bei: Run, tmp_path: Path) -> None:
    checked = bei("check", written(tmp_path, {**BASE, "nonsense": 1}))
    assert checked.returncode == 1
    assert "refused by bei\n  unknown key: nonsense\n" in checked.stdout
    assert "  nonsense  the key is unknown\n" in checked.stdout


def test_not_a_config(bei: Run, tmp_path: Path) -> None:
    assert bei("check", tmp_path / "none.yaml").returncode == 2
