"""Configs that differ from a valid one in one place, to compare `bei check` with truss."""

import copy
from typing import Any

BASE: dict[str, Any] = {
    "model_name": "embeddings",
    "resources": {"accelerator": "L4", "cpu": "1", "memory": "10Gi", "use_gpu": True},
    "trt_llm": {
        "inference_stack": "v1",
        "build": {
            "base_model": "encoder",
            "checkpoint_repository": {"source": "HF", "repo": "owner/name", "revision": "main"},
            "max_num_tokens": 16384,
        },
        "runtime": {"webserver_default_route": "/v1/embeddings"},
    },
}

REMOVED = object()
"""The value of a key that is removed."""

B, R, P = "trt_llm.build.", "trt_llm.runtime.", "trt_llm.build.checkpoint_repository."

VALUES: dict[str, list[Any]] = {
    "model_name": [None, "", 3, ["a"], REMOVED],
    "description": ["text", 4, None],
    "model_metadata": [{"a": 1}, None, [], {"example_model_input": {"input": "a"}}],
    "python_version": ["py313", "py39", "py38", "3.11", 3.11, "py315"],
    "environment_variables": [{"FOO": 1}, {"FOO": True}, {"FOO": None}, {"FOO": [1]}, [], {"PORT": 80}],
    "environment_variables.DTYPE": ["bfloat16", "float32", "float16", "int8"],
    "environment_variables.AUTO_TRUNCATE": [True, False, "false"],
    "secrets": [{"hf_access_token": None}, {"a": "b"}, {"a": 1}, ["a"], None],
    "requirements": [["numpy"], "numpy", [1]],
    "requirements_file": ["requirements.txt", 1],
    "system_packages": [["ffmpeg"], [1]],
    "live_reload": [True, "yes", "maybe", 2],
    "base_image": [
        {"image": "a/b"},
        {"python_executable_path": "python"},
        {"docker_auth": {"auth_method": "aws_iam"}},
        {"docker_auth": {"auth_method": "GCP_SERVICE_ACCOUNT_JSON"}},
        {"docker_auth": {"auth_method": "x"}},
        {"unknown": 1},
    ],
    "docker_server": [
        {"server_port": 1, "predict_endpoint": "/", "readiness_endpoint": "/", "liveness_endpoint": "/"},
        {
            "start_command": "x",
            "server_port": "80",
            "predict_endpoint": "/",
            "readiness_endpoint": "/",
            "liveness_endpoint": "/",
        },
        {"start_command": "x"},
    ],
    "build": [{"no_cache": True}, {"no_cache": False}, {"secret_to_path_mapping": {"a b": "/x"}}, {"x": 1}, None],
    "build_commands": [["ls"], "ls"],
    "external_data": [[{"url": "https://a", "local_data_path": "b"}], [{"url": ""}], None],
    "model_cache": [
        [{"repo_id": "a/b", "use_volume": False}],
        [{"repo_id": "a/b"}],
        [{"repo_id": "a/b", "use_volume": False, "revision": "x"}],
        [{"repo_id": "a/b", "use_volume": True, "revision": "main", "volume_folder": "x"}],
        [{"repo_id": "a/b", "use_volume": True, "revision": "main"}],
        [{"repo_id": "a/b", "use_volume": False, "kind": "ftp"}],
        {},
    ],
    "weights": [
        [{"source": "s3://a/b", "mount_location": "/x"}],
        [{"source": "a/b", "mount_location": "/x"}],
        [{"source": "s3://a/b@c", "mount_location": "/x"}],
        [{"source": "hf://a/b@c", "mount_location": "/x"}],
        [{"source": "ftp://a", "mount_location": "/x"}],
        [{"source": "s3://a/b", "mount_location": "x"}],
        [{"source": "s3://a/b", "mount_location": "/x"}, {"source": "s3://c/d", "mount_location": "/x"}],
        [{"source": "s3://a/b", "mount_location": "/x", "auth": {"auth_method": "AWS_OIDC"}}],
        [
            {
                "source": "s3://a/b",
                "mount_location": "/x",
                "auth": {"auth_method": "custom_secret", "auth_secret_name": "s"},
            }
        ],
    ],
    "bdn": [
        {"mounts": []},
        {"mounts": [{"source": "bdn:a/b:c", "path": "/x"}]},
        {"mounts": [{"source": "s3://a", "path": "/x"}]},
        {"mounts": [{"source": "bdn:a/b", "path": "x"}]},
        {"access": [{"namespace": "a", "grants": []}]},
        {"access": [{"namespace": "a", "grants": ["pull"]}]},
        {"access": [{"namespace": "a", "grants": ["own"]}]},
        None,
    ],
    "bis_llm": [None, {"version": "1"}, {"version": 1}],
    "training_checkpoints": [None, {"loops_checkpoint_ids": ["a"], "artifact_references": [{"training_job_id": "b"}]}],
    "unknown_key": [1],
    "resources": [None, {}],
    "resources.accelerator": ["H100:2", "H1000", "", "H100:0", None, "T4", "V100:2", "h100", {"accelerator": "L4"}, 4],
    "resources.cpu": ["500m", "abc", 4, "2.5"],
    "resources.memory": ["512Mi", "10Gb", "10", 10],
    "resources.node_count": [1, 0, "2", None],
    "resources.instance_type": ["L4:4x16", 1],
    "resources.unknown": [1],
    "runtime": [None, {"num_workers": 2}, {"unknown": 1}],
    "runtime.predict_concurrency": [8, "8", "x", 1.5],
    "runtime.transport": [{}, {"kind": "grpc"}, {"kind": "udp"}],
    "runtime.health_checks": [{"startup_threshold_seconds": 60}, {"startup_threshold_seconds": "soon"}],
    "runtime.egress_restrictions": [
        {"ip_allow_list": ["1.1.1.1"]},
        {"ip_allow_list": ["::1"]},
        {"fqdn_allow_list": ["a b"]},
        {"fqdn_allow_list": ["*.baseten.co"]},
    ],
    "runtime.truss_server_version_override": ["0.9.0", "latest"],
    "trt_llm": [None, REMOVED, {}, 3],
    "trt_llm.unknown": [1],
    "trt_llm.inference_stack": ["v2", "v3", None, REMOVED],
    "trt_llm.version_overrides": [{"bei_bert_version": "1.8"}, {"bei_bert_version": "v1"}, {"x": 1}, {}],
    B + "base_model": ["encoder_bert", "decoder", "whisper", "qwen", "other", REMOVED],
    B + "unknown": [1],
    B + "max_num_tokens": [65, 64, "16384", 16384.0, 1048576, 1048577, None, REMOVED],
    B + "max_batch_size": [1, 0, 2048, 2049, "32", None],
    B + "max_seq_len": [512, 0, "512", None],
    B + "max_beam_width": [1, 2],
    B + "num_builder_gpus": [4, 0, "4", None],
    B + "tensor_parallel_count": [2, 0, "2"],
    B + "pipeline_parallel_count": [2, "2", "x"],
    B + "strongly_typed": [True, "no", 3],
    B + "quantization_type": [
        *("no_quant", "fp8", "fp8_kv", "fp8_mlp_only", "fp4", "smooth_quant", "weights_int8", "int3", None),
    ],
    B + "quantization_config": [
        *({"calib_size": 128}, {"calib_size": 100}, {"calib_size": 32}, {"calib_max_seq_length": 1000}),
        *({"calib_size": 32768}, {"calib_dataset": 3}, {"x": 1}, None),
    ],
    B + "plugin_configuration": [
        *({"paged_kv_cache": False}, {"paged_kv_cache": False, "use_paged_context_fmha": False}),
        *({"use_fp8_context_fmha": True}, {"x": 1}),
    ],
    B + "lora_adapters": [{}, {"a": {"source": "HF", "repo": "a/b"}}, {"a b": {"source": "HF", "repo": "a/b"}}],
    B + "speculator": [
        None,
        {
            "speculative_decoding_mode": "LOOKAHEAD_DECODING",
            "lookahead_windows_size": 8,
            "lookahead_ngram_size": 3,
            "lookahead_verification_set_size": 3,
        },
    ],
    B + "lora_cache_max_adapter_size": [8],
    B + "checkpoint_repository": [None, REMOVED, {"repo": "a/b"}, {"source": "HF"}],
    P + "source": ["LOCAL", "S3", "hf", "BASETEN_TRAINING", None],
    P + "repo": ["a/b/c", "https://huggingface.co/a/b", "a/b.git", "", "./x", "name", "a--b/c", "a/.b", "a/b..c", 3],
    P + "revision": [None, "abc", 1],
    P + "runtime_secret_name": ["mine", None, 3],
    P + "unknown": [1],
    R + "webserver_default_route": ["/rerank", "/predict", "/predict_tokens", "/v1/systemone", "/embed", None],
    R + "batch_scheduler_policy": ["max_utilization", "zzz"],
    R + "enable_chunked_context": [False, "off", "maybe"],
    R + "kv_cache_free_gpu_mem_fraction": [0.5, "0.5", "x"],
    R + "kv_cache_host_memory_bytes": [1, 0, None, "1"],
    R + "lora_cache_gpu_memory_fraction": [0.5, 2.0, 0],
    R + "lora_cache_max_adapter_size": [8, 0],
    R + "total_token_limit": [1000, "1000", "x"],
    R + "served_model_name": ["a", 1],
    R + "unknown": [1],
}
"""Dotted path → values."""

TOGETHER: dict[str, dict[str, Any]] = {
    "requirements and requirements_file": {"requirements": ["a"], "requirements_file": "b"},
    "model_cache and weights": {
        "model_cache": [{"repo_id": "a/b", "use_volume": False}],
        "weights": [{"source": "s3://a/b", "mount_location": "/x"}],
    },
    "T4 and encoder_bert": {"resources.accelerator": "T4", B + "base_model": "encoder_bert"},
    "fp8 and A100": {"resources.accelerator": "A100", B + "quantization_type": "fp8"},
    "fp8 and H100": {"resources.accelerator": "H100", B + "quantization_type": "fp8"},
    "fp4 and H100": {"resources.accelerator": "H100", B + "quantization_type": "fp4"},
    "fp4 and B200": {"resources.accelerator": "B200", B + "quantization_type": "fp4"},
    "fp8 and encoder_bert": {B + "base_model": "encoder_bert", B + "quantization_type": "fp8"},
    "adapter sizes": {R + "lora_cache_max_adapter_size": 8, R + "lora_cache_optimal_adapter_size": 16},
    "v2 and encoder": {"trt_llm.inference_stack": "v2"},
    "remote_ssh and a user": {
        "runtime": {"remote_ssh": {"enabled": True}},
        "docker_server": {
            "start_command": "x",
            "server_port": 80,
            "predict_endpoint": "/",
            "readiness_endpoint": "/",
            "liveness_endpoint": "/",
            "run_as_user_id": 5,
        },
    },
    "paged attention and encoder_bert": {
        B + "base_model": "encoder_bert",
        B + "plugin_configuration": {"paged_kv_cache": False},
    },
    "S3 and a location": {P + "source": "S3", P + "repo": "s3://a/b", P + "revision": REMOVED},
    "S3 and a Hub id": {P + "source": "S3", P + "revision": REMOVED},
}
"""Name → dotted paths and values."""


def mutations() -> dict[str, dict[str, Any]]:
    """Name → config."""
    alone = {
        f"{path} = {'(removed)' if value is REMOVED else repr(value)}": {path: value}
        for path, values in VALUES.items()
        for value in values
    }
    return {"unchanged": BASE} | {name: _changed(changes) for name, changes in {**alone, **TOGETHER}.items()}


def _changed(changes: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(BASE)
    for path, value in changes.items():
        *parents, key = path.split(".")
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        if value is REMOVED:
            section.pop(key, None)
        else:
            section[key] = value
    return config
