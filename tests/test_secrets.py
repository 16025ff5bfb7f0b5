"""Secrets: places, order, refusals, and that no repr shows one."""

from pathlib import Path

import pytest

from openbei.config import Environment
from openbei.errors import ConfigError


def test_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("from a file\n")
    (tmp_path / "b").write_text("from a file")
    secrets = Environment.read({"OPENBEI_SECRETS": str(tmp_path), "TRUSS_SECRET_a": "from a variable"}).secrets
    assert (secrets.find("a"), secrets.find("b"), secrets.find("c")) == ("from a variable", "from a file", None)
    assert Environment.read({}).secrets.folder == Path("/secrets")


def test_variables_of_a_config() -> None:
    """Those of the process come first."""
    secrets = Environment.read({"AWS_REGION": "process"}, {"AWS_REGION": "config", "TRUSS_SECRET_a": "config"}).secrets
    assert secrets.cloud == {"AWS_REGION": "process"}
    assert secrets.find("a") == "config"


def test_nothing_is_shown() -> None:
    variables = {"TRUSS_SECRET_a": "hush-1", "AWS_SECRET_ACCESS_KEY": "hush-2", "AZURE_STORAGE_SAS_TOKEN": "hush-3"}
    environment = Environment.read(variables)
    assert environment.secrets.cloud["AWS_SECRET_ACCESS_KEY"] == "hush-2"
    assert "hush" not in f"{environment!r} {environment}"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "/etc/passwd", "a\n"])
def test_names_that_are_no_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="runtime_secret_name is"):
        Environment.read({"OPENBEI_SECRETS": str(tmp_path)}).secrets.find(name)


def test_files_that_are_no_secret(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * (2 << 20))
    (tmp_path / "folder").mkdir()
    secrets = Environment.read({"OPENBEI_SECRETS": str(tmp_path)}).secrets
    assert secrets.find("folder") is None
    for name in ("binary", "large"):
        with pytest.raises(ConfigError, match=f"the secret .*{name} is"):
            secrets.find(name)
