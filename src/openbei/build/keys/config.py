"""Keys of a transformer's config.json: common keys, and those of each architecture.

The keys that a family reads come from its structs and tables. A key that transformers ignores is listed as without
effect, or refused if openbei reads it.
"""

from collections.abc import Mapping
from dataclasses import replace

from openbei.build.keys.table import AllowedValues, Keys, keys_of, reason_by_key, split_keys
from openbei.families import (
    bert,
    deberta_v2,
    distilbert,
    electra,
    fields,
    gemma2,
    gte,
    jina_xlm_roberta,
    llama,
    modernbert,
    mpnet,
)
from openbei.families import nomic_bert as nomic
from openbei.rope import RopeParameters

_LEGACY_GENERATION = (
    "assistant_confidence_threshold assistant_lookbehind bad_words_ids begin_suppress_tokens cache_implementation "
    "diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size encoder_repetition_penalty epsilon_cutoff "
    "eta_cutoff exponential_decay_length_penalty force_words_ids forced_bos_token_id forced_eos_token_id "
    "guidance_scale length_penalty max_length max_new_tokens min_length min_new_tokens no_repeat_ngram_size "
    "num_assistant_tokens num_assistant_tokens_schedule num_beam_groups num_beams num_return_sequences output_past "
    "output_scores penalty_alpha prefix remove_invalid_values repetition_penalty return_dict_in_generate sequence_bias "
    "suppress_tokens target_lookbehind task_specific_params temperature top_k top_p typical_p use_cache"
)
_TRAINING = (
    "*dropout* *_pdrop gradient_checkpointing init_std initializer_cutoff_factor initializer_factor initializer_range "
    "label_smoothing layerdrop loss_type moe_aux_loss_coef router_aux_loss_coef"
)
_KERNEL = (
    "_attn_implementation* _experts_implementation* attn_implementation experts_implementation base_model_pp_plan "
    "base_model_tp_plan chunk_size_feed_forward distributed_config fusion_config pretraining_tp reference_compile "
    "tf_legacy_loss torchscript unpad_inputs use_bfloat16 use_flash_attn use_memory_efficient_attention xla_device"
)

COMPUTE_ONLY = "selects an implementation, not the result"
WITHOUT_TYPES = "the model has no token types"
TEXT_ONLY = "multimodal inputs only"

COMMON = Keys(
    read=split_keys(
        "_name_or_path architectures auto_map dtype function_to_apply id2label model_type pad_token_id problem_type "
        "quantization_config sbert_ce_default_activation_function sentence_transformers tie_word_embeddings "
        "tokenizer_class torch_dtype"
    ),
    without_effect=reason_by_key(
        {
            "text generation only": _LEGACY_GENERATION,
            "training only": _TRAINING,
            COMPUTE_ONLY: _KERNEL,
            "selects additional outputs": (
                "output_attentions output_hidden_states return_dict tie_last_hidden_states use_return_dict"
            ),
            "describes the checkpoint": (
                "_commit_hash _num_labels finetuning_task label2id matryoshka_dimensions name_or_path num_labels "
                "transformers_version"
            ),
            "special tokens are read from the tokenizer's files": (
                "bos_token bos_token_id cls_token cls_token_id eos_token eos_token_id mask_token mask_token_id "
                "model_max_length pad_token sep_token sep_token_id unk_token unk_token_id"
            ),
            WITHOUT_TYPES: "type_vocab_size",
            "encoder-decoder models only": "cross_attention_hidden_size decoder_start_token_id tie_encoder_decoder",
            "the repository's code is not run": "custom_pipelines",
        }
    ),
    refused={
        "add_cross_attention": AllowedValues((False,), "cross-attention is not supported"),
        "compression_config": AllowedValues((), "quantized checkpoints are not supported"),
        "configuration_files": AllowedValues((), "transformers reads another file instead of this one"),
        "is_causal": AllowedValues((False,), "the model is bidirectional"),
        "is_decoder": AllowedValues((False,), "the model is bidirectional"),
        "is_encoder_decoder": AllowedValues((False,), "encoder-decoder models are not supported"),
        "partial_rotary_factor": AllowedValues(
            (1.0,), "rotary embeddings apply to whole heads; transformers ignores the key or fails"
        ),
        "per_layer_config": AllowedValues((), "all layers have the same shape"),
        "pruned_heads": AllowedValues((), "all layers have the same number of heads"),
        "text_config": AllowedValues((), "multimodal models are not supported"),
        "transformers_weights": AllowedValues(("model.safetensors",), "weights are read from model.safetensors"),
    },
    nested={"sentence_transformers": Keys(read={"activation_fn"}, without_effect={"version": "describes the file"})},
)
"""Keys of every architecture, unless ARCHITECTURES overrides them."""

_FULL_ROTARY = {"partial_rotary_factor": COMMON.refused["partial_rotary_factor"]}
_ROPE_PARAMETERS = Keys(
    read=keys_of(RopeParameters, gte.NtkScaling) - {*_FULL_ROTARY},
    without_effect=reason_by_key(
        {
            "describes the checkpoint": "finetuned",
            "longrope only, which is refused": "long_factor short_factor",
            TEXT_ONLY: "mrope_interleaved mrope_section",
        }
    ),
    refused=_FULL_ROTARY,
)
_LAYER_TYPES = ("full_attention", "sliding_attention")
_ROPE_BY_LAYER_TYPE = Keys(
    read={*_LAYER_TYPES, *_ROPE_PARAMETERS.read},
    without_effect=_ROPE_PARAMETERS.without_effect,
    refused=_FULL_ROTARY,
    nested=dict.fromkeys(_LAYER_TYPES, _ROPE_PARAMETERS),
)
_ROTARY = {"rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings"}
_NESTED_ROPE = {"rope_scaling": _ROPE_BY_LAYER_TYPE, "rope_parameters": _ROPE_BY_LAYER_TYPE}


def _type(*model_types: str) -> dict[str, AllowedValues]:
    """The values of model_type that match an architecture."""
    return {"model_type": AllowedValues(model_types, "transformers uses model_type, and openbei architectures")}


_BERT = {*keys_of(bert.BertConfig), *bert.FIXED}
_OLD_POOLER = (
    "directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type"
)
_ROBERTA = Keys(_BERT, refused=_type("roberta", "xlm-roberta", "camembert"))
_GTE = Keys(
    {*_BERT, *_ROTARY, *gte.FIXED, "head_dim"},
    without_effect={"logn_attention_clip1": "logn_attention_scale only, which is refused"},
    nested=_NESTED_ROPE,
)
_JINA = Keys(
    {*_BERT, "feed_forward_type"},
    without_effect={"emb_pooler": "the pooling is read from modules.json"},
)
_DECODER = {*keys_of(llama.DecoderConfig), *fields.BIASES, *_ROTARY}
_BIDIRECTIONAL = {*_DECODER, *keys_of(fields.ClassifierFields)}
_IS_DECODER = {"is_decoder": "the model is a decoder"}
_MROPE = {"use_mrope": TEXT_ONLY}
_QWEN2 = {**_IS_DECODER, **_MROPE, **dict.fromkeys(fields.BIASES, "the biases of Qwen2 are fixed")}
_HEAD_BIAS = {
    "token_classification_bias": AllowedValues((True,), "the final linear layer of a token classifier has a bias")
}
_CAUSAL = {
    "use_bidirectional_attention": AllowedValues((False,), "transformers ignores this key and reads is_causal"),
    **_HEAD_BIAS,
}
_NO_WINDOW = {
    "sliding_window": AllowedValues((), "transformers ignores this key: the family has no sliding windows"),
    **_HEAD_BIAS,
}
_GEMMA = {*_DECODER, "hidden_activation"}
_GEMMA2_ACTIVATION = {"hidden_act": "the activation is read from hidden_activation"}
_GEMMA3 = Keys(
    {*_GEMMA, *keys_of(gemma2.Gemma2Config), "final_logit_softcapping", "rope_local_base_freq"},
    {
        **_IS_DECODER,
        "_sliding_window_pattern": "transformers also writes layer_types, which is read",
        **_GEMMA2_ACTIVATION,
        "attn_logit_softcapping": "Gemma 3 has no softcapping",
    },
    _HEAD_BIAS,
    _NESTED_ROPE,
)
_NOMIC_KERNEL = (
    "dense_seq_output fused_bias_fc fused_dropout_add_ln last_layer_subset moe_impl pad_vocab_size_multiple "
    "use_fused_mlp use_xentropy"
)

ARCHITECTURES: dict[str, Keys] = {
    "Bert": Keys(_BERT, reason_by_key({"a pooler that transformers does not have": _OLD_POOLER}), _type("bert")),
    "Roberta": _ROBERTA,
    "XLMRoberta": _ROBERTA,
    "Camembert": _ROBERTA,
    "DistilBert": Keys(
        {*_BERT, *distilbert.FIELDS},
        reason_by_key(
            {
                "position embeddings are in the checkpoint": "sinusoidal_pos_embds",
                "DistilBERT reads activation and hidden_dim": "hidden_act intermediate_size",
                "the epsilon of DistilBERT's norms is fixed": "layer_norm_eps",
                WITHOUT_TYPES: "type_vocab_size",
            }
        ),
        _type("distilbert"),
    ),
    "Electra": Keys(
        {*_BERT, *electra.DEFAULTS},
        reason_by_key(
            {"multiple choice only": "summary_activation summary_proj_to_labels summary_type summary_use_proj"}
        ),
        _type("electra"),
    ),
    "MPNet": Keys(
        {*_BERT, *mpnet.DEFAULTS},
        {"type_vocab_size": WITHOUT_TYPES},
        _type("mpnet"),
    ),
    "DebertaV2": Keys(
        {
            *_BERT,
            *keys_of(deberta_v2.DebertaConfig, fields.RelativePositionFields),
            "attention_head_size",
            "conv_groups",
            "embedding_size",
            "pooler_hidden_size",
        },
        {"legacy": "the masked language model's head is recognized by its tensor names"},
        _type("deberta-v2"),
    ),
    "ModernBert": Keys(
        {
            *keys_of(modernbert.ModernBertConfig),
            *modernbert.BIASES,
            *_ROTARY,
            "decoder_bias",
            "head_dim",
            "sliding_window",
        },
        reason_by_key(
            {
                "training only": "sparse_pred_ignore_index sparse_prediction",
                COMPUTE_ONLY: "deterministic_flash_attn repad_logits_with_grad",
                "the epsilon is read from norm_eps": "layer_norm_eps",
                "rotary embeddings are read from rope_parameters": "position_embedding_type",
            }
        ),
        {
            **_type("modernbert"),
            "rope_theta": AllowedValues((), "transformers reads global_rope_theta and local_rope_theta"),
        },
        _NESTED_ROPE,
    ),
    "NomicBert": Keys(
        {
            *_BERT,
            *_ROTARY,
            *keys_of(fields.ExpertFields),
            *nomic.FIELDS,
            *nomic.BIASES,
            *nomic.FIXED,
            "head_dim",
            "max_trained_positions",
            "rotary_scaling_factor",
        },
        reason_by_key(
            {
                COMPUTE_ONLY: _NOMIC_KERNEL,
                "inherited from GPT-2's config": (
                    "reorder_and_upcast_attn scale_attn_by_inverse_layer_idx scale_attn_weights summary_activation "
                    "summary_proj_to_labels summary_type summary_use_proj"
                ),
                "parallel_block only, which is refused": "parallel_block_tied_norm",
                "the pooler is recognized by its tensors": "add_pooling_layer",
            }
        ),
        {
            **_type("nomic_bert"),
            "norm_mlp": AllowedValues((False,), "norms inside the MLP are not supported"),
            "num_heads_kv": AllowedValues((), "grouped-query attention is not supported"),
            "rotary_head_dim": AllowedValues((False,), "rotation along the head dimension is not supported"),
        },
        _NESTED_ROPE,
    ),
    "JinaBert": _JINA,
    "JinaCodeBert": _JINA,
    "JinaEmbeddingsV3": Keys(
        {*_BERT, *_ROTARY, *jina_xlm_roberta.FIXED, "rotary_emb_base"},
        reason_by_key(
            {
                "training only": "lora_alpha lora_main_params_trainable lora_rank use_reentrant",
                "the pooler's output is not read": "emb_pooler",
                "describes the checkpoint": "truncate_dim",
            }
        ),
        {
            **_type("jina_embeddings_v3", "xlm-roberta"),
            "lora_adaptations": AllowedValues((), "adapters are not supported"),
            "load_trained_adapters": AllowedValues((False,), "adapters are not supported"),
            "task_instructions": AllowedValues((), "adapters are not supported"),
        },
        _NESTED_ROPE,
    ),
    "Gte": Keys(_GTE.read, _GTE.without_effect, _type("gte"), _NESTED_ROPE),
    "New": _GTE,
    "EuroBert": Keys(
        {*_DECODER, "classifier_pooling"},
        {**_IS_DECODER, "clf_pooling": "the pooling is read from classifier_pooling"},
        {**_type("eurobert"), **_NO_WINDOW, "is_causal": COMMON.refused["is_causal"]},
        _NESTED_ROPE,
    ),
    "Llama": Keys(_DECODER, _IS_DECODER, {**_type("llama"), **_NO_WINDOW, **_CAUSAL}, _NESTED_ROPE),
    "LlamaBidirectional": Keys(_BIDIRECTIONAL, _IS_DECODER, _NO_WINDOW, _NESTED_ROPE),
    "Mistral": Keys(
        _DECODER,
        {**_IS_DECODER, **dict.fromkeys(fields.BIASES, "Mistral has no biases")},
        {
            **_type("mistral", "ministral"),
            **_CAUSAL,
            "use_sliding_window": AllowedValues((True,), "transformers reads only sliding_window"),
            "max_window_layers": AllowedValues((0,), "transformers reads only sliding_window"),
        },
        _NESTED_ROPE,
    ),
    "Qwen2": Keys(_DECODER, _QWEN2, {**_type("qwen2"), **_CAUSAL}, _NESTED_ROPE),
    "Qwen2Bidirectional": Keys(_BIDIRECTIONAL, _QWEN2, _HEAD_BIAS, _NESTED_ROPE),
    "Qwen3": Keys(_DECODER, {**_IS_DECODER, **_MROPE}, {**_type("qwen3"), **_CAUSAL}, _NESTED_ROPE),
    "Qwen3Bidirectional": Keys(_BIDIRECTIONAL, _IS_DECODER, _HEAD_BIAS, _NESTED_ROPE),
    "Gemma": Keys(_GEMMA, _IS_DECODER, {**_type("gemma"), **_NO_WINDOW}, _NESTED_ROPE),
    "Gemma2": Keys(
        {*_GEMMA, *keys_of(gemma2.Gemma2Config), "final_logit_softcapping"},
        {**_IS_DECODER, **_GEMMA2_ACTIVATION},
        {
            **_type("gemma2"),
            **_HEAD_BIAS,
            "sliding_window_pattern": AllowedValues(
                (2,), "transformers reads layer_types, by default every other layer"
            ),
        },
        _NESTED_ROPE,
    ),
    "Gemma3Text": Keys(_GEMMA3.read, _GEMMA3.without_effect, {**_GEMMA3.refused, **_type("gemma3_text")}, _NESTED_ROPE),
    "Gemma3Bidirectional": Keys(
        {*_GEMMA3.read, *_BIDIRECTIONAL}, _GEMMA3.without_effect, _GEMMA3.refused, _NESTED_ROPE
    ),
}
"""Architecture prefix, as in `openbei.families.FAMILIES` -> keys that override or extend COMMON."""


def config_keys(prefix: str, config: Mapping[str, object]) -> Keys:
    """The table of a config.json. With an auto_map, model_type is that of the repository's code and not checked."""
    keys = ARCHITECTURES[prefix]
    if "auto_map" in config:
        refused = {key: allowed for key, allowed in keys.refused.items() if key != "model_type"}
        keys = replace(keys, refused=refused)
    return COMMON.overridden_by(keys)
