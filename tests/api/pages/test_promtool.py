"""promtool, which is part of Prometheus, checks /metrics and the dashboard's queries; skipped where it is missing."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.api.conftest import Served
from tests.serving.test_metrics import DASHBOARD, TEI, expressions

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def promtool(*arguments: object, given: str = "") -> "subprocess.CompletedProcess[str]":
    command = ["promtool", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)


def test_metrics(served: Served) -> None:
    """It complains only about the names of TEI's counters, with exit status 3; 1 means that it cannot parse them."""
    served.embed(input=["w1", "w2 w3"])
    assert served.client.post("/embed", json={"inputs": ""}).status_code == 422
    done = promtool("check", "metrics", given=served.client.get("/metrics").text)
    complaints = done.stdout + done.stderr
    names = {line.split()[0] for line in complaints.splitlines() if line}
    expected = {name for name in TEI if re.search("_(count|success|failure)$", name) and "predict" not in name}
    assert names == expected, complaints
    assert done.returncode == 3


def test_queries_of_the_dashboard(tmp_path: Path) -> None:
    """As rules, with values for the variables of Grafana."""
    queries = [query for query in expressions(json.loads(DASHBOARD.read_text())) if "label_values" not in query]
    assert len(queries) > 20
    rules = [
        {"record": f"query_{i}", "expr": query.replace("$__rate_interval", "5m")} for i, query in enumerate(queries)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
