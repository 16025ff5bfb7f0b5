"""Keys of sentence-transformers' files: modules.json, a Transformer's, the model's, and each module's config.json."""

from openbei.build.keys.table import Keys, Only, keys_of, reasons
from openbei.build.lm_head import LogitScoreConfig
from openbei.build.modules import OLD_POOLING_KEYS, DenseConfig, LayerNormConfig, NormalizeConfig

_ANY = Keys(read={"*"})

MODULES = Keys(
    read={"path", "type"},
    without_effect=reasons({
        "modules stand in the order of the file": "idx name",
        "names of arguments that a caller may pass on": "kwargs",
    }),
)  # fmt: skip

_LOADING = reasons({
    "a setting of how files are loaded": (
        "cache_dir force_download local_files_only low_cpu_mem_usage proxies revision subfolder token "
        "trust_remote_code use_auth_token use_fast use_safetensors"
    ),
    "chooses how to compute, not what": (
        "attn_implementation device_map experts_implementation export file_name max_memory offload_folder provider "
        "session_options tp_plan use_kernels"
    ),
    "the deployment says in which dtype the engine computes": "dtype torch_dtype",
})  # fmt: skip
_MODEL_KWARGS = Keys(
    read={"*"},
    without_effect={**_LOADING, "add_pooling_layer": "the pooler's output is not read"},
)
_KWARGS = Keys(read={"*"}, without_effect=_LOADING)

TRANSFORMER = Keys(
    read={
        "config_args", "config_kwargs", "do_lower_case", "max_seq_length", "modality_config", "model_args",
        "model_kwargs", "module_output_name", "processing_kwargs", "processor_kwargs", "tokenizer_args",
        "tokenizer_name_or_path", "transformer_task",
    },
    without_effect=reasons({
        "nothing is padded here": "unpad_inputs",
        "encode_query and encode_document only": "document_length query_expansion query_length",
    }),
    nested={
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
)  # fmt: skip
"""sentence_bert_config.json and its six older names."""

MODEL = Keys(
    read={
        "activation_fn", "default_prompt_name", "max_active_dims", "model_type", "prompts", "similarity_fn_name",
        "truncate_dim",
    },
    without_effect={
        **dict.fromkeys(("max_length", "num_labels"), "sentence-transformers does not read it from this file"),
        "__version__": "describes the file",
        "keep_in_fp32_modules": "the deployment says in which dtype the engine computes",
        "requirements": "what the author's libraries must be",
    },
)  # fmt: skip
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
            "embedding_dimension": "weights have the width of the vocabulary",
            _OLD_WIDTH: "weights have the width of the vocabulary",
            "chunk_size": "chooses how to compute, not what",
        },
    ),
    "LogitScore": Keys(read=keys_of(LogitScoreConfig)),
    "Dense": Keys(
        read=keys_of(DenseConfig), without_effect=reasons({"the module's file has weights": "init_weight init_bias"})
    ),
    "LayerNorm": Keys(read=keys_of(LayerNormConfig)),
    "Normalize": Keys(read=keys_of(NormalizeConfig)),
    "Dropout": Keys(without_effect={"dropout": "dropout is off at inference"}),
    "StaticEmbedding": Keys(without_effect=reasons({"sentence-transformers reads tensors alone": _MODEL2VEC})),
    "SparseStaticEmbedding": Keys(
        without_effect={"frozen": "training only"},
        refused={"path": Only((), "sentence-transformers takes the weights from there, not from model.safetensors")},
    ),
}  # fmt: skip
"""Class of a module -> the keys of its config.json."""

ROUTER = Keys(
    read={"types", "structure", "parameters"},
    nested={
        "types": _ANY,
        "structure": _ANY,
        "parameters": Keys(
            read={"default_route", "route_mappings"},
            without_effect={"allow_empty_key": "where no route is the default, one has to be chosen"},
        ),
    },
)
"""router_config.json, or the config.json of an older Router."""
