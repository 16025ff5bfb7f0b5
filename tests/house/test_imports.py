"""Imports point one way. The table is the house's plan; a new part of it needs a line."""

import pytest

from .source import MODULES, Module

BASE = {
    "errors",
    "device",
    "gpus",
    "accelerators",
    "quantization",
    "spec_part",
    "attention_bias",
    "spec",
    "absorbed",
    "shapes",
    "flops",
    "batch",
    "prompts",
    "late_interaction",
    "config",
    "truss",
    "rope",
    "variables",
    "panics",
    "atomic_folder",
    "locations",
    "secrets",
}

ARROWS: dict[str, set[str]] = {
    "__init__": {"errors", "model"},
    "__main__": {"cli"},
    "errors": set(),
    "device": set(),
    "gpus": set(),
    "accelerators": {"errors", "gpus"},
    "quantization": {"errors"},
    "spec_part": set(),
    "attention_bias": {"spec_part"},
    "spec": {"spec_part", "attention_bias"},
    "absorbed": {"spec", "batch"},
    "shapes": {"device", "spec", "attention_bias", "absorbed", "safetensors_file"},
    "flops": {"spec", "shapes"},
    "batch": {"device", "spec"},
    "prompts": {"errors"},
    "late_interaction": set(),
    "locations": {"errors"},
    "secrets": {"errors"},
    "truss": {"errors", "secrets"},
    "truss_check": {"errors", "locations"},
    "rope": {"errors"},
    "panics": {"errors"},
    "atomic_folder": set(),
    "variables": {"errors", "secrets"},
    "variable_values": set(),
    "yaml_file": {"errors"},
    "config": {
        "errors",
        "accelerators",
        "device",
        "quantization",
        "spec",
        "truss",
        "variables",
        "variable_values",
        "yaml_file",
        "locations",
        "secrets",
    },
    "safetensors_file": {"errors"},
    "json_floats": {"batch", "_native"},
    "families": BASE,
    "stores": BASE,
    "checkpoints": {*BASE, "stores", "digests"},
    "digests": set(),
    "formats": {*BASE, "safetensors_file"},
    "artifacts": {*BASE, "stores", "digests", "engine_dir"},
    "engine_dir": {*BASE, "digests", "formats", "safetensors_file"},
    "build": {*BASE, "families", "checkpoints", "engine_dir", "formats", "safetensors_file"},
    "backends": {*BASE, "engine_dir", "formats", "safetensors_file", "_native"},
    "tasks": BASE,
    "serving": {*BASE, "engine_dir", "tasks"},
    "api": {*BASE, "json_floats", "engine_dir", "tasks", "serving"},
    "progress": set(),
    "targets": {
        *BASE,
        *("artifacts", "accuracy", "calibration", "engine_dir", "formats", "build", "backends", "progress"),
    },
    "report": set(),
    "load": {"errors", "report", "secrets"},
    "calibration": {*BASE, "accuracy", "engine_dir", "open_model", "progress"},
    "accuracy": {*BASE, "engine_dir", "open_model", "progress", "tasks"},
    "methods": {*BASE, "engine_dir"},
    "open_model": {*BASE, "engine_dir", "tasks", "serving", "progress", "methods"},
    "model": {*BASE, "open_model", "targets"},
    "comparison": {*BASE, "accuracy", "engine_dir", "open_model", "progress", "tasks"},
    "bulk": {*BASE, "api", "digests", "engine_dir", "json_floats", "methods", "tasks", "serving"},
    "cli": {
        *BASE,
        "accuracy",
        "comparison",
        "load",
        "report",
        "yaml_file",
        "truss_check",
        "artifacts",
        "engine_dir",
        "build",
        "serving",
        "api",
        "bulk",
        "tasks",
        "progress",
        "targets",
        "methods",
        "model",
        "backends",
        "_native",
    },
}

NOT_IN_PRODUCT = {
    *("torch", "triton", "transformers", "sentence_transformers", "safetensors", "openvino"),
    *("pickle", "marshal", "subprocess"),
}


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.name)
def test_arrows(module: Module) -> None:
    allowed = ARROWS[module.part] | {module.part, "__version__"}
    inner = {name.split(".")[1] for name in module.imports() if name.startswith("openbei.")}
    assert inner <= allowed, f"{module.name} must not import {sorted(inner - allowed)}"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.name)
def test_left_out_of_the_product(module: Module) -> None:
    """Only the CUDA backend imports torch and Triton, and nothing imports it before it is chosen."""
    is_cuda = module.name.startswith("backends/cuda/")
    allowed = {"torch", "triton"} if is_cuda else set()
    names = set(module.imports())
    assert not {name.split(".")[0] for name in names} & NOT_IN_PRODUCT - allowed
    assert is_cuda or not [name for name in names if name.startswith("openbei.backends.cuda")]


API_ARROWS: dict[str, set[str]] = {
    "limits": set(),
    "fields": set(),
    "exchange": {"limits"},
    "connections": {"exchange"},
    "service": {"exchange", "limits"},
    "choice": {"exchange", "service"},
    "default_route": {"exchange", "service"},
    "pipeline": {"exchange", "limits", "service"},
    "operations": {"exchange", "fields", "limits", "pipeline", "service"},
    "dialects": {"choice", "exchange", "fields", "limits", "operations", "pipeline", "service"},
    "pages": {"default_route", "exchange", "dialects", "operations", "service"},
    "shared_paths": {"default_route", "dialects", "exchange", "operations", "service"},
    "routes": {"default_route", "dialects", "operations", "pages", "service", "shared_paths"},
    "endpoint": {"choice", "exchange", "service"},
    "app": {"endpoint", "exchange", "limits", "pages", "routes", "service"},
    "server": {"connections"},
}
"""Inside of the API a request goes from the last lines up."""


def test_arrows_of_the_api() -> None:
    placed: set[str] = set()
    for part, allowed in API_ARROWS.items():
        assert allowed <= placed, part
        placed.add(part)
    for module in MODULES:
        parts = module.name.split("/")
        if parts[0] == "api" and parts[1] != "__init__":
            names = {name.split(".")[2] for name in module.imports() if name.startswith("openbei.api.")}
            assert names <= {*API_ARROWS[parts[1]], parts[1]}, module.name


def test_dialects_do_not_import_each_other() -> None:
    """What two of them share is a module of its own, which no path of the table leads to."""
    for module in MODULES:
        if module.name.startswith("api/dialects/"):
            others = {name for name in module.imports() if name.startswith("openbei.api.dialects.")}
            shared = {name for name in others if name.split(".")[3] in ("decisions", "ranking")}
            assert others == shared, module.name


def test_the_plan_has_no_cycle() -> None:
    placed: set[str] = {"_native"}
    while ready := {part for part, needs in ARROWS.items() if part not in placed and needs <= placed}:
        placed |= ready
    assert placed >= set(ARROWS)


def test_heavy_libraries_stay_out_of_the_way() -> None:
    """Parsing the command line must not import what only one command needs: the server starts in a moment."""
    top = [m for m in MODULES if m.name in ("cli/__init__", "__main__", "__init__")]
    heavy = {"numpy", "rich", "huggingface_hub", "uvicorn", "starlette", "tokenizers", "yaml"}
    assert not {name.split(".")[0] for module in top for name in module.imports()} & heavy
