"""The schema of a Truss config.yaml, as truss 0.18.36 checks it when it pushes."""

from openbei.truss_check import rules, texts
from openbei.truss_check.kinds import Anything, Choice, Entries, Items, Number, Optional, Section, Switch, Text, Whole

NAME = Text(texts.not_empty)
POSITIVE = Optional(Whole(1, is_strict=True))
TEXTS = Items(Text())

AUTH_METHODS = ("CUSTOM_SECRET", "AWS_OIDC", "GCP_OIDC", "AWS_ASSUME_ROLE")
DOCKER_AUTH_METHODS = (
    *("GCP_SERVICE_ACCOUNT_JSON", "AWS_IAM", "AWS_OIDC", "GCP_OIDC", "REGISTRY_SECRET", "AWS_ASSUME_ROLE"),
)
AUTH_KEYS = (
    *("aws_oidc_role_arn", "aws_oidc_region", "gcp_oidc_service_account", "gcp_oidc_workload_id_provider"),
    *("aws_assume_role_arn", "aws_assume_role_region"),
)

CHECKPOINT_REPOSITORY = Section(
    {
        "source": Choice(("HF", "GCS", "S3", "AZURE", "LOCAL", "REMOTE_URL", "BASETEN_TRAINING")),
        "repo": Text(),
        "revision": Optional(Text()),
        "runtime_secret_name": Text(),
    },
    required=("source", "repo"),
    rules=(rules.hub_id,),
    is_open=True,
)

RUNTIME = Section(
    {
        "kv_cache_free_gpu_mem_fraction": Number(),
        "kv_cache_host_memory_bytes": POSITIVE,
        "lora_cache_max_adapter_size": POSITIVE,
        "lora_cache_optimal_adapter_size": POSITIVE,
        "lora_cache_gpu_memory_fraction": Optional(Number(0, 1, is_strict=True)),
        "lora_cache_host_memory_bytes": POSITIVE,
        "enable_chunked_context": Switch(),
        "batch_scheduler_policy": Choice(("max_utilization", "guaranteed_no_evict")),
        "request_default_max_tokens": POSITIVE,
        "served_model_name": Optional(Text()),
        "total_token_limit": Whole(),
        "webserver_default_route": Optional(
            Choice(("/v1/embeddings", "/v1/systemone", "/rerank", "/predict", "/predict_tokens"))
        ),
    },
    rules=(rules.adapter_sizes,),
)

BUILD = Section(
    {
        "base_model": Choice(("encoder", "encoder_bert", "decoder")),
        "max_seq_len": Optional(Whole(1, 1048576, is_strict=True)),
        "max_batch_size": Whole(1, 2048, is_strict=True),
        "max_num_tokens": Whole(65, 1048576, is_strict=True),
        "max_beam_width": Whole(1, 1, is_strict=True),
        "max_prompt_embedding_table_size": Whole(),
        "checkpoint_repository": Optional(CHECKPOINT_REPOSITORY),
        "gather_all_token_logits": Switch(),
        "strongly_typed": Switch(),
        "quantization_type": Choice(
            (
                *(
                    "no_quant",
                    "weights_int8",
                    "weights_kv_int8",
                    "weights_int4",
                    "weights_int4_kv_int8",
                    "smooth_quant",
                ),
                *("fp8", "fp8_kv", "fp8_mlp_only", "fp4", "fp4_kv", "fp4_mlp_only"),
            )
        ),
        "quantization_config": Section(
            {"calib_size": Whole(64, 16384), "calib_dataset": Text(), "calib_max_seq_length": Whole(64, 16384)},
            rules=(rules.multiples_of_64,),
            is_open=True,
        ),
        "tensor_parallel_count": Whole(1, is_strict=True),
        "pipeline_parallel_count": Whole(),
        "moe_expert_parallel_option": Whole(),
        "sequence_parallel_count": Whole(),
        "plugin_configuration": Section(
            {"paged_kv_cache": Switch(), "use_paged_context_fmha": Switch(), "use_fp8_context_fmha": Switch()},
            is_open=True,
        ),
        "num_builder_gpus": POSITIVE,
        "speculator": Optional(Anything()),
        "lora_adapters": Optional(Entries(CHECKPOINT_REPOSITORY, texts.adapter_name)),
        "lora_configuration": Optional(Section({"max_lora_rank": Whole(), "lora_target_modules": TEXTS}, is_open=True)),
        "skip_build_result": Switch(),
    },
    rules=(rules.speculator, rules.paged_attention, rules.adapter_cache),
    is_open=True,
)

TRT_LLM = Section(
    {
        "inference_stack": Choice(("v1", "v2")),
        "build": BUILD,
        "runtime": RUNTIME,
        "version_overrides": Section(
            {
                "engine_builder_version": Optional(Text(texts.digits_first)),
                "briton_version": Optional(Text(texts.digits_first)),
                "bei_version": Optional(Text(texts.digits_first)),
                "bei_bert_version": Optional(Text(texts.digits_first)),
                "v2_llm_version": Optional(Text()),
            }
        ),
    },
    required=("build",),
    rules=(rules.checkpoint_of_v1,),
)

RESOURCES = Section(
    {
        "cpu": Text(texts.cpu),
        "memory": Text(texts.memory),
        "accelerator": Optional(
            Section(
                {"accelerator": Optional(Choice(texts.ACCELERATORS)), "count": Whole(0)},
                or_text=Text(texts.accelerator),
            )
        ),
        "use_gpu": Anything(),
        "instance_type": Optional(Text()),
        "node_count": POSITIVE,
        "fabric": Optional(Section({"use_rdma": Optional(Switch()), "preferences": Optional(TEXTS)})),
    }
)

PLATFORM_RUNTIME = Section(
    {
        "predict_concurrency": Whole(),
        "streaming_read_timeout": Whole(),
        "enable_tracing_data": Switch(),
        "enable_debug_logs": Switch(),
        "transport": Section(
            {"kind": Choice(("http", "websocket", "grpc"))}, rules=(rules.transport_kind,), is_open=True
        ),
        "is_websocket_endpoint": Optional(Switch()),
        "health_checks": Section(
            {
                "restart_check_delay_seconds": Optional(Whole()),
                "restart_threshold_seconds": Optional(Whole()),
                "stop_traffic_threshold_seconds": Optional(Whole()),
                "startup_threshold_seconds": Optional(Whole()),
            }
        ),
        "oidc": Section({"enabled": Optional(Switch())}),
        "remote_ssh": Section({"enabled": Switch()}),
        "egress_restrictions": Optional(
            Section(
                {
                    "ip_allow_list": Optional(Items(Text(texts.network))),
                    "fqdn_allow_list": Optional(Items(Text(texts.domain))),
                }
            )
        ),
        "truss_server_version_override": Optional(Text(texts.version)),
    }
)

_AUTH = dict.fromkeys(AUTH_KEYS, Optional(Text()))

WEIGHTS = Items(
    Section(
        {
            "source": Text(texts.weights_source),
            "mount_location": Text(texts.absolute_path),
            "auth": Optional(
                Section(
                    {"auth_method": Text(), "auth_secret_name": Optional(Text()), **_AUTH},
                    required=("auth_method",),
                    rules=(rules.auth(AUTH_METHODS, "auth_secret_name"),),
                )
            ),
            "auth_secret_name": Optional(Text()),
            "allow_patterns": Optional(TEXTS),
            "ignore_patterns": Optional(TEXTS),
        },
        required=("source", "mount_location"),
        rules=(rules.one_secret_name,),
    )
)

BDN = Section(
    {
        "mounts": Items(
            Section(
                {
                    "source": Text(texts.bdn_source),
                    "path": Text(texts.bdn_path),
                    "include": Items(Text(texts.bdn_pattern)),
                    "exclude": Items(Text(texts.bdn_pattern)),
                },
                required=("source", "path"),
            )
        ),
        "access": Items(
            Section(
                {
                    "namespace": Text(texts.bdn_name),
                    "grants": Items(Choice(("pull", "push", "tag", "inspect", "delete")), min_items=1),
                },
                required=("namespace", "grants"),
            )
        ),
        "hotload": Section({"enabled": Switch()}),
    },
    rules=(rules.unique("mounts", "path"), rules.unique("access", "namespace")),
)

MODEL_REPOSITORY = Section(
    {
        "repo_id": NAME,
        "revision": Text(texts.not_one_letter),
        "allow_patterns": Optional(TEXTS),
        "ignore_patterns": Optional(TEXTS),
        "volume_folder": Optional(NAME),
        "use_volume": Switch(),
        "kind": Choice(("hf", "gcs", "s3", "azure")),
        "runtime_secret_name": Text(),
    },
    required=("repo_id", "use_volume"),
    rules=(rules.volume_folder,),
)

BASE_IMAGE = Section(
    {
        "image": Text(),
        "python_executable_path": Text(texts.absolute_or_empty),
        "docker_auth": Optional(
            Section(
                {
                    "auth_method": Text(),
                    "registry": Optional(Text()),
                    "secret_name": Optional(Text()),
                    "aws_access_key_id_secret_name": Text(),
                    "aws_secret_access_key_secret_name": Text(),
                    **_AUTH,
                },
                required=("auth_method",),
                rules=(rules.auth(DOCKER_AUTH_METHODS, "secret_name"),),
            )
        ),
    }
)

DOCKER_SERVER = Section(
    {
        "start_command": Optional(Text()),
        "server_port": Whole(),
        "predict_endpoint": Text(),
        "readiness_endpoint": Text(),
        "liveness_endpoint": Text(),
        "run_as_user_id": Optional(Whole()),
        "no_build": Optional(Switch()),
    },
    required=("server_port", "predict_endpoint", "readiness_endpoint", "liveness_endpoint"),
    rules=(rules.docker_server,),
)

CONFIG = Section(
    {
        "model_name": Optional(Text()),
        "model_metadata": Entries(Anything()),
        "description": Optional(Text()),
        "examples_filename": Text(),
        "data_dir": Text(),
        "external_data": Optional(
            Items(
                Section(
                    {"url": NAME, "local_data_path": NAME, "backend": Text(), "name": Optional(Text())},
                    required=("url", "local_data_path"),
                )
            )
        ),
        "external_package_dirs": TEXTS,
        "python_version": Choice(texts.PYTHON_VERSIONS),
        "base_image": Optional(BASE_IMAGE),
        "requirements_file": Optional(Text()),
        "requirements": TEXTS,
        "system_packages": TEXTS,
        "environment_variables": Entries(Anything()),
        "secrets": Entries(Optional(Text())),
        "resources": RESOURCES,
        "runtime": PLATFORM_RUNTIME,
        "build": Section(
            {
                "model_server": Choice(("TrussServer", "TRT_LLM")),
                "arguments": Entries(Anything()),
                "secret_to_path_mapping": Entries(Text(), texts.build_secret),
                "no_cache": Switch(),
            },
            rules=(rules.no_cache,),
        ),
        "build_commands": TEXTS,
        "docker_server": Optional(DOCKER_SERVER),
        "model_cache": Items(MODEL_REPOSITORY),
        "weights": WEIGHTS,
        "bdn": BDN,
        "trt_llm": Optional(TRT_LLM),
        "training_checkpoints": Optional(
            Section(
                {
                    "download_folder": Text(),
                    "artifact_references": Items(
                        Section({"training_job_id": Text(), "paths": TEXTS}, required=("training_job_id",))
                    ),
                    "loops_checkpoint_ids": TEXTS,
                },
                rules=(rules.one_kind_of_checkpoints,),
            )
        ),
        "bis_llm": Optional(
            Section(
                {
                    "config": Optional(Entries(Anything())),
                    "version": Text(),
                    "additional_autoscaling_config": Optional(Anything()),
                }
            )
        ),
        "input_type": Text(),
        "model_framework": Text(),
        "model_type": Text(),
        "model_module_dir": Text(),
        "model_class_filename": Text(),
        "model_class_name": Text(),
        "bundled_packages_dir": Text(),
        "use_local_src": Switch(),
        "cache_internal": Optional(Items(MODEL_REPOSITORY)),
        "live_reload": Switch(),
        "apply_library_patches": Switch(),
        "spec_version": Text(),
        "hf_cache": Anything(),
    },
    rules=(rules.one_of_each, rules.accelerators, rules.remote_ssh),
)
