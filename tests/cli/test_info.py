"""`bei info`, `bei bench`, `bei --help`: what they say of an engine directory and of this machine."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import openbei
from openbei.backends.reference import ReferenceEngine
from openbei.cli import COMMANDS, info, main
from openbei.cli.bench import tokens_per_s
from openbei.engine_dir import EngineDir
from openbei.gpus import Capability, Gpu, Gpus
from openbei.shapes import num_parameters
from tests.checkpoint import write_json
from tests.random_engine import random_engine_dir
from tests.small_models import small_spec
from tests.spec_axes import HEADS

from .conftest import Run
from .test_serve import assert_clear


def test_machine(bei: Run) -> None:
    done = bei("info")
    assert done.returncode == 0
    assert openbei.__version__ in done.stdout
    assert re.search(r"threads +\d+", done.stdout)
    assert done.stdout.count("chosen") == ("portable" in done.stdout)


def test_gpus() -> None:
    """As a machine with two of them and without the extra shows them."""
    h100 = Gpu(0, "NVIDIA H100", Capability(9, 0), 80 << 30)
    rows = dict(info._gpus(Gpus((h100, Gpu(1, "Tesla T4", Capability(7, 5), 15 << 30)), (13, 1))))
    assert rows["cuda:0"] == "NVIDIA H100, 80 GiB, compute capability 9.0: float16, bfloat16, fp8"
    assert rows["cuda:1"] == "Tesla T4, 15 GiB, compute capability 7.5: float16"
    assert rows["driver"] == "supports CUDA 13.1"
    assert dict(info._gpus(Gpus(missing="no NVIDIA driver"))) == {"gpu": "none: no NVIDIA driver"}


def test_engine_directory(bei: Run, tiny_engine_dir: EngineDir) -> None:
    said = bei("info", tiny_engine_dir.path).stdout
    manifest = tiny_engine_dir.manifest
    for expected in (manifest.model_name, manifest.spec.task, manifest.dtype, f"{num_parameters(manifest.spec):,}"):
        assert expected in said
    for decision in manifest.report:
        assert decision.reason in said
    assert "warnings" not in said


def test_warnings(bei: Run, checkpoint_copy: Path, tmp_path: Path) -> None:
    """Of a build, and of what it wrote."""
    path = checkpoint_copy / "config.json"
    write_json(path, json.loads(path.read_text()) | {"logit_multiplier": 0.5})
    about = "logit_multiplier is 0.5"
    assert f"warning: config.json: {about}: " in bei("build", checkpoint_copy, "--out", tmp_path / "engine").stderr
    said = bei("info", tmp_path / "engine").stdout
    assert f"\nwarnings\n  config.json  {about}  (unknown key; the model's output may depend on it)\n" in said


def test_no_engine_directory(bei: Run, tmp_path: Path, tiny_engine_dir: EngineDir) -> None:
    assert_clear(bei("info", tmp_path), 1, str(tmp_path))
    copy = shutil.copytree(tiny_engine_dir.path, tmp_path / "copy")
    (copy / "engine.json").write_text("{}")
    assert_clear(bei("info", copy), 1, "engine.json")


def test_bench(bei: Run, tiny_engine_dir: EngineDir) -> None:
    done = bei("bench", tiny_engine_dir.path, "--seconds", "0.05", "--batch-tokens", "600")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^ +(short|mixed|long) .* tokens/s", done.stdout, re.MULTILINE) == ["short", "mixed", "long"]


@pytest.mark.parametrize("head", ["mean", "token labels", "token vectors", "terms"])
def test_bench_runs_every_head(head: str) -> None:
    engine_dir = random_engine_dir(small_spec(36, 3, 12, 50, head=HEADS[head]))
    assert tokens_per_s(ReferenceEngine(engine_dir), [3, 5], engine_dir.manifest.spec, 1e-9) > 0


def test_any_target(bei: Run, config: Path, tiny_checkpoint: Path, tiny_engine_dir: EngineDir) -> None:
    """What has no engine directory yet is built."""
    for target in (config, tiny_checkpoint, tiny_engine_dir.path):
        done = bei("info", target)
        assert done.returncode == 0, done.stderr
        assert "\nbuild\n" in done.stdout
        bench = bei("bench", target, "--seconds", "0.01", "--batch-tokens", "100")
        assert bench.returncode == 0, bench.stderr
        assert "tokens/s" in bench.stdout
    assert_clear(bei("info", "owner/name"), 1, "owner/name cannot be downloaded")


@pytest.mark.parametrize("name", ["build", "serve", "embed", "info", "bench"])
def test_help(name: str) -> None:
    assert name in COMMANDS
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("serv",), "error: there is no command serv\nhint: did you mean serve?\n"),
        (("xyz",), "error: there is no command xyz\nhint: bei --help\n"),
        (("serve", "a", "--prt", "1"), "error: there is no option --prt\nhint: did you mean --port?\n"),
        (("serve", "a", "--xyz"), "error: there is no option --xyz\nhint: bei serve --help\n"),
        (("serve",), "error: missing argument 'TARGET...'\nhint: bei serve --help\n"),
        (
            ("serve", "a", "--log-level", "loud"),
            "error: invalid value for '--log-level': 'loud' is not one of 'debug', "
            "'info', 'warning', 'error'\nhint: bei serve --help\n",
        ),
        (
            ("embed", "a", "--input", "absent"),
            "error: invalid value for '--input': File 'absent' does not exist\nhint: bei embed --help\n",
        ),
    ],
)
def test_one_style_of_errors(arguments: tuple[str, ...], told: str, bei: Run) -> None:
    done = bei(*arguments)
    assert (done.returncode, done.stderr) == (2, told)


def test_version(bei: Run) -> None:
    assert bei("--version").stdout == f"openbei {openbei.__version__}\n"


def test_bad_environment(bei: Run, variables: dict[str, str]) -> None:
    variables["OPENBEI_THREADS"] = "many"
    assert_clear(bei("info"), 2, "OPENBEI_THREADS")


def test_serving_imports_no_more_than_it_needs() -> None:
    """An engine directory is served without what builds one, what shows progress, and what reads YAML."""
    code = "import sys; import openbei.cli.serve, openbei.backends; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True).stdout.split()
    assert not {"openbei.build", "rich", "yaml", "huggingface_hub", "torch", "transformers"} & set(loaded)
