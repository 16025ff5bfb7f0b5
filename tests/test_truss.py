"""The keys of a config.yaml against truss: its verbose output, and its JSON schema."""

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from openbei.config import load_config
from openbei.truss import REFUSED, WITHOUT_EFFECT, Config, Section

VERBOSE = """
apply_library_patches: true
base_image: null
bdn: {access: [], hotload: {enabled: false}, mounts: []}
bis_llm: null
build: {arguments: {}, model_server: TrussServer, no_cache: false, secret_to_path_mapping: {}}
build_commands: []
docker_server: null
environment_variables: {}
model_name: null
resources: {accelerator: null, cpu: '1', memory: 2Gi, use_gpu: false}
runtime: {predict_concurrency: 1, transport: {kind: http}, truss_server_version_override: null}
secrets: {}
training_checkpoints: null
trt_llm:
  build:
    base_model: encoder_bert
    checkpoint_repository: {repo: owner/name, revision: null, runtime_secret_name: hf_access_token, source: HF}
    lora_adapters: null
    max_batch_size: 256
    max_num_tokens: 8192
    max_seq_len: null
    plugin_configuration: {paged_kv_cache: true, use_fp8_context_fmha: false, use_paged_context_fmha: true}
    quantization_type: no_quant
    speculator: null
    strongly_typed: false
  inference_stack: v1
  runtime: {batch_scheduler_policy: guaranteed_no_evict, served_model_name: null, webserver_default_route: null}
  version_overrides: {bei_bert_version: null, bei_version: null}
weights: []
"""
"""A config in truss's verbose form."""

SECTIONS = {
    "": "",
    "trt_llm.": "TRTLLMConfigurationV1",
    "trt_llm.build.": "TrussTRTLLMBuildConfiguration",
    "trt_llm.build.checkpoint_repository.": "CheckpointRepository",
    "trt_llm.runtime.": "TrussTRTLLMRuntimeConfiguration",
}
"""Prefix of dotted paths → definition in truss's schema."""


def test_the_verbose_form(tmp_path: Path) -> None:
    """The report has every key without effect, with a reason."""
    (tmp_path / "config.yaml").write_text(VERBOSE)
    assert load_config(tmp_path / "config.yaml").base_model == "encoder_bert"
    (tmp_path / "config.yaml").write_text(VERBOSE.replace("bis_llm: null", "bis_llm: {engine: any}"))
    notes = {note.subject: note for note in load_config(tmp_path / "config.yaml").notes}
    assert notes["bdn"].decision == notes["bis_llm"].decision == "no effect"
    assert "checkpoint_repository" in notes["bdn"].reason
    assert notes["trt_llm.build.strongly_typed"].reason


def schema() -> dict[str, Any]:
    """Truss's JSON schema, from OPENBEI_TRUSS_SCHEMA or the installed package."""
    spec = find_spec("truss")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(os.environ.get("OPENBEI_TRUSS_SCHEMA") or Path(*folders[:1]) / "config.schema.json")
    if not path.is_file():
        pytest.skip("the package truss is not installed")
    return dict(json.loads(path.read_text()))


def paths_of_fields(section: type[Section] = Config, prefix: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(section):
        yield prefix + field.name
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from paths_of_fields(field.type, f"{prefix}{field.name}.")


def test_every_key_of_truss_is_known() -> None:
    """As read, without effect, or refused."""
    root = schema()
    known = {*paths_of_fields(), *WITHOUT_EFFECT, *REFUSED}
    for prefix, name in SECTIONS.items():
        keys = (root["$defs"][name] if name else root)["properties"]
        assert sorted(prefix + key for key in keys if prefix + key not in known) == []


def test_enums_of_truss_are_known(tmp_path: Path) -> None:
    """A value in truss's schema is accepted, or refused for a specific reason."""
    definitions = schema()["$defs"]
    config = yaml.safe_load(VERBOSE)
    for key, name in (("quantization_type", "TrussTRTLLMQuantizationType"), ("base_model", "TrussTRTLLMModel")):
        for value in definitions[name]["enum"]:
            config["trt_llm"]["build"] = {**yaml.safe_load(VERBOSE)["trt_llm"]["build"], key: value}
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
            try:
                load_config(tmp_path / "config.yaml")
            except Exception as error:
                assert "must be one of" not in str(error), (key, value)  # noqa: PT017
    for value in definitions["CheckpointSource"]["enum"]:
        config = yaml.safe_load(VERBOSE)
        config["trt_llm"]["build"]["checkpoint_repository"]["source"] = value
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        assert load_config(tmp_path / "config.yaml").repository.source == value
