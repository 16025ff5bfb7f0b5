"""The examples for Kubernetes, systemd and compose: valid, and about options, routes, metrics and files that exist."""

import re
import shutil
import subprocess
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
COMPOSE = yaml.safe_load((EXAMPLES / "compose/compose.yaml").read_text())
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
    service = (EXAMPLES / "systemd/openbei@.service").read_text()
    [line] = re.findall(r"^ExecStart=\S+ (.*)", service, re.MULTILINE)
    compose = [service["command"] for name, service in COMPOSE["services"].items() if name == "openbei"]
    for command, *arguments in [line.split(), *compose, *(container["args"] for container in containers())]:
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
    files = [*(f"kubernetes/{name}.yaml" for name in ("alerts", "keda", "hpa")), "prometheus/rules.yaml"]
    text = "".join((EXAMPLES / name).read_text() for name in files)
    used = set(re.findall(r"\b((?:openbei|te)_\w+)\b", text))
    assert used <= known
    assert len(used) >= 3


def names_of(family: Any) -> Iterator[str]:
    yield from (family.name, f"{family.name}_total", f"{family.name}_bucket")


def test_the_config_is_valid(tmp_path: Path) -> None:
    [config] = [m["data"]["config.yaml"] for _, m in MANIFESTS if m["kind"] == "ConfigMap"]
    (tmp_path / "config.yaml").write_text(config)
    assert load_config(tmp_path / "config.yaml").repository.source == "S3"


def test_the_unit_is_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "openbei@7997.service"
    unit.write_text((EXAMPLES / "systemd/openbei@.service").read_text().replace("/opt/openbei/bin/bei", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_rules_of_prometheus_are_those_of_its_operator() -> None:
    [operator] = [manifest["spec"] for name, manifest in MANIFESTS if name == "alerts.yaml"]
    assert yaml.safe_load((EXAMPLES / "prometheus/rules.yaml").read_text()) == operator


def test_the_config_of_prometheus() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool")
    command = ["promtool", "check", "config", EXAMPLES / "prometheus/prometheus.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_and_volumes_of_compose() -> None:
    """Every file that is mounted exists, every path in a container is in a mounted folder, and every name resolves."""
    folder = EXAMPLES / "compose"
    for service in COMPOSE["services"].values():
        for source, target, *_ in (volume.split(":") for volume in service.get("volumes", ())):
            assert (folder / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], target
    prometheus, grafana = COMPOSE["services"]["prometheus"], COMPOSE["services"]["grafana"]
    [config] = [option.partition("=")[2] for option in prometheus["command"]]
    assert (folder / "../prometheus" / Path(config).name).exists()
    assert f"../prometheus:{Path(config).parent}:ro" in prometheus["volumes"]
    [provider] = yaml.safe_load((folder / "grafana/dashboards.yaml").read_text())["providers"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == Path(provider["options"]["path"])
    assert f"../grafana:{home.parent}:ro" in grafana["volumes"]
    assert (EXAMPLES / "grafana" / home.name).exists()


def test_hosts_of_compose() -> None:
    """Prometheus and Grafana find each other and the server by the names of their services."""
    [source] = yaml.safe_load((EXAMPLES / "compose/grafana/datasources.yaml").read_text())["datasources"]
    [scrape] = yaml.safe_load((EXAMPLES / "prometheus/prometheus.yaml").read_text())["scrape_configs"]
    targets = [target for config in scrape["static_configs"] for target in config["targets"]]
    used = {source["url"].removeprefix("http://"): 9090, **dict.fromkeys(targets, 7997)}
    for address, port in used.items():
        name, _, actual = address.partition(":")
        assert int(actual) == port
        assert COMPOSE["services"][name]["ports"] == [f"127.0.0.1:{port}:{port}"]
