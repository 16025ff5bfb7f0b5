"""Keys of sentence-transformers' files: modules.json, sentence_bert_config.json, and the config.json of each module."""

from openbei.build.keys.table import AllowedValues, Keys, keys_of, reason_by_key, split_keys
from openbei.build.late_interaction import Expansion, MaskConfig, PyLateConfig
from openbei.build.lm_head import LogitScoreConfig
from openbei.build.modules import OLD_POOLING_KEYS, DenseConfig, LayerNormConfig, NormalizeConfig

_ANY = Keys(read={"*"})

MODULES = Keys(
    read={"path", "type"},
    without_effect=reason_by_key(
        {
            "modules are in the order of the file": "idx name",
            "names of optional arguments": "kwargs",
        }
    ),
)

_LOADING = reason_by_key(
    {
        "a setting of the loader": (
            "cache_dir force_download local_files_only low_cpu_mem_usage proxies revision subfolder token "
            "trust_remote_code use_auth_token use_fast use_safetensors"
        ),
        "selects an implementation, not the result": (
            "attn_implementation device_map experts_implementation export file_name max_memory offload_folder provider "
            "session_options tp_plan use_kernels"
        ),
        "the dtype is a setting of the build": "dtype torch_dtype",
    }
)
_MODEL_KWARGS = Keys(
    read={"*"},
    without_effect={**_LOADING, "add_pooling_layer": "the pooler's output is not read"},
)
_KWARGS = Keys(read={"*"}, without_effect=_LOADING)

TRANSFORMER = Keys(
    read=split_keys(
        "config_args config_kwargs do_lower_case max_seq_length modality_config model_args model_kwargs "
        "module_output_name processing_kwargs processor_kwargs tokenizer_args tokenizer_name_or_path transformer_task "
        "document_length query_expansion query_length"
    ),
    without_effect=reason_by_key({"batches are never padded": "unpad_inputs"}),
    nested={
        "query_expansion": Keys(read=keys_of(Expansion)),
        **dict.fromkeys(("model_args", "model_kwargs"), _MODEL_KWARGS),
        **dict.fromkeys(("tokenizer_args", "processor_kwargs"), _KWARGS),
        **dict.fromkeys(("config_args", "config_kwargs"), _KWARGS),
        "processing_kwargs": Keys(
            read={"common", "text", "chat_template"},
            without_effect=dict.fromkeys(("audio", "image", "video"), "images and sound only"),
            nested=dict.fromkeys(("common", "text", "chat_template"), _ANY),
        ),
        "modality_config": Keys(
            read={"text", "message"},
            without_effect={"*": "images and sound only"},
            nested=dict.fromkeys(("text", "message"), Keys(read={"format", "method", "method_output_name"})),
        ),
    },
)
"""sentence_bert_config.json and its six older names."""

MODEL = Keys(
    read=split_keys(
        "activation_fn default_prompt_name max_active_dims model_type prompts similarity_fn_name truncate_dim"
    )
    | keys_of(PyLateConfig),
    without_effect={
        **dict.fromkeys(("max_length", "num_labels"), "sentence-transformers does not read it from this file"),
        "__version__": "describes the file",
        "keep_in_fp32_modules": "the dtype is a setting of the build",
        "requirements": "versions of the author's libraries",
    },
)
"""config_sentence_transformers.json."""

_OLD_WIDTH = "word_embedding_dimension"
_MODEL2VEC = (
    "apply_pca apply_zipf architectures embedding_dtype hidden_dim model_type normalize pca_dims pooling "
    "seq_length sif_coefficient tokenizer_name transformers_version vocabulary_quantization"
)

MODULE_CONFIGS: dict[str, Keys] = {
    "Pooling": Keys(read={"embedding_dimension", _OLD_WIDTH, "include_prompt", "pooling_mode", *OLD_POOLING_KEYS}),
    "SpladePooling": Keys(
        read={"activation_function", "pooling_strategy"},
        without_effect={
            "embedding_dimension": "the dimension is that of the vocabulary",
            _OLD_WIDTH: "the dimension is that of the vocabulary",
            "chunk_size": "selects an implementation, not the result",
        },
    ),
    "LogitScore": Keys(read=keys_of(LogitScoreConfig)),
    "Dense": Keys(
        read=keys_of(DenseConfig),
        without_effect=reason_by_key({"weights are read from the module's file": "init_weight init_bias"}),
    ),
    "MultiVectorMask": Keys(read=keys_of(MaskConfig)),
    "LayerNorm": Keys(read=keys_of(LayerNormConfig)),
    "Normalize": Keys(read=keys_of(NormalizeConfig)),
    "Dropout": Keys(without_effect={"dropout": "dropout is off at inference"}),
    "StaticEmbedding": Keys(without_effect=reason_by_key({"sentence-transformers reads only the tensors": _MODEL2VEC})),
    "SparseStaticEmbedding": Keys(
        without_effect={"frozen": "training only"},
        refused={"path": AllowedValues((), "sentence-transformers reads the weights from this path")},
    ),
}
"""Module class -> keys of its config.json."""

ROUTER = Keys(
    read={"types", "structure", "parameters"},
    nested={
        "types": _ANY,
        "structure": _ANY,
        "parameters": Keys(
            read={"default_route", "route_mappings"},
            without_effect={"allow_empty_key": "without a default route, the build requires --route"},
        ),
    },
)
"""router_config.json, or the config.json of an older Router."""
