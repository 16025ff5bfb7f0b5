"""The examples for Kubernetes and systemd: valid, and about options, routes and metrics that exist."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from openbei.api.routes import ROUTES
from openbei.cli import main
from openbei.config import load_config
from openbei.serving.metrics import Metrics

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = [
    (path.name, document)
    for path in sorted((EXAMPLES / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
CUSTOM = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")
"""Kinds of KEDA and the Prometheus operator, which have no schema here."""


@pytest.mark.parametrize(("name", "manifest"), MANIFESTS, ids=lambda value: str(value)[:20])
def test_manifests_are_valid(name: str, manifest: dict[str, Any]) -> None:
    if find_spec("kubernetes_validate") is None:
        pytest.skip("needs kubernetes-validate")
    import kubernetes_validate

    if manifest["apiVersion"] not in CUSTOM:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def containers() -> Iterator[dict[str, Any]]:
    for _, manifest in MANIFESTS:
        if manifest["kind"] == "Deployment":
            pod = manifest["spec"]["template"]["spec"]
            yield from (*pod["initContainers"], *pod["containers"])


def options(command: str) -> set[str]:
    found = main.get_command(click.Context(main), command)
    assert found
    return {option for parameter in found.params for option in parameter.opts}


def test_commands_have_these_options() -> None:
    service = (EXAMPLES / "systemd/openbei.service").read_text()
    [line] = re.findall(r"^ExecStart=\S+ (.*)", service, re.MULTILINE)
    for command, *arguments in [line.split(), *(container["args"] for container in containers())]:
        given = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
        assert given <= options(command)
        assert given


def test_probes_are_routes() -> None:
    paths = {route.path for route in ROUTES}
    probes = [
        value["httpGet"]["path"] for container in containers() for key, value in container.items() if "Probe" in key
    ]
    assert len(probes) == 3
    assert set(probes) <= paths


def test_the_time_to_end_is_longer_than_the_drain() -> None:
    [pod] = [m["spec"]["template"]["spec"] for _, m in MANIFESTS if m["kind"] == "Deployment"]
    [serve] = [container for container in pod["containers"] if container["args"][0] == "serve"]
    [drain_s] = [float(argument.partition("=")[2]) for argument in serve["args"] if argument.startswith("--drain-s")]
    assert pod["terminationGracePeriodSeconds"] > drain_s + 30


def test_metrics_exist() -> None:
    known = {name for family in Metrics().registry.collect() for name in names_of(family)}
    text = "".join((EXAMPLES / "kubernetes" / f"{name}.yaml").read_text() for name in ("alerts", "keda", "hpa"))
    used = set(re.findall(r"\b((?:openbei|te)_\w+)\b", text))
    assert used <= known
    assert len(used) >= 3


def names_of(family: Any) -> Iterator[str]:
    yield from (family.name, f"{family.name}_total", f"{family.name}_bucket")


def test_the_config_is_valid(tmp_path: Path) -> None:
    [config] = [m["data"]["config.yaml"] for _, m in MANIFESTS if m["kind"] == "ConfigMap"]
    (tmp_path / "config.yaml").write_text(config)
    assert load_config(tmp_path / "config.yaml").repository.source == "S3"
