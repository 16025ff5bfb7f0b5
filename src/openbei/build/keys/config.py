"""Keys of a transformer's config.json: those of every architecture, and of each that is built.

What a family reads follows from its structs and tables. A key that transformers ignores for an architecture is without
effect there, or refused if openbei would follow it.
"""

from collections.abc import Mapping
from dataclasses import replace

from openbei.build.keys.table import Keys, Only, keys_of, reasons
from openbei.families import bert, deberta_v2, distilbert, electra, fields, gemma2, gte, llama, modernbert, mpnet
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

COMMON = Keys(
    read={
        "_name_or_path", "architectures", "auto_map", "dtype", "function_to_apply", "id2label", "model_type",
        "pad_token_id", "problem_type", "quantization_config", "sbert_ce_default_activation_function",
        "sentence_transformers", "tie_word_embeddings", "tokenizer_class", "torch_dtype",
    },
    without_effect=reasons({
        "text generation only": _LEGACY_GENERATION,
        "training only": _TRAINING,
        "chooses how to compute, not what": _KERNEL,
        "chooses what is returned beside the answer": (
            "output_attentions output_hidden_states return_dict tie_last_hidden_states use_return_dict"
        ),
        "describes the checkpoint": (
            "_commit_hash _num_labels finetuning_task label2id matryoshka_dimensions name_or_path num_labels "
            "transformers_version"
        ),
        "the tokenizer's files say what goes around a text": (
            "bos_token bos_token_id cls_token cls_token_id eos_token eos_token_id mask_token mask_token_id "
            "model_max_length pad_token sep_token sep_token_id unk_token unk_token_id"
        ),
        "there are no token types": "type_vocab_size",
        "encoder-decoder models only": "cross_attention_hidden_size decoder_start_token_id tie_encoder_decoder",
        "code of the repository is not run": "custom_pipelines",
    }),
    refused={
        "add_cross_attention": Only((False,), "there is nothing to attend to across"),
        "compression_config": Only((), "only unquantized weights are read"),
        "configuration_files": Only((), "transformers reads another file in the place of this one"),
        "is_causal": Only((False,), "tokens attend both ways"),
        "is_decoder": Only((False,), "tokens attend both ways"),
        "is_encoder_decoder": Only((False,), "only encoders and decoders are built"),
        "partial_rotary_factor": Only((1.0,), "heads turn as a whole; transformers ignores the key or fails"),
        "per_layer_config": Only((), "layers are all alike"),
        "pruned_heads": Only((), "every layer has all its heads"),
        "text_config": Only((), "the text model is the whole model"),
        "transformers_weights": Only(("model.safetensors",), "transformers reads other weights"),
    },
    nested={"sentence_transformers": Keys(read={"activation_fn"}, without_effect={"version": "describes the file"})},
)  # fmt: skip
"""What holds for each architecture that does not say otherwise below."""

_WHOLE = {"partial_rotary_factor": COMMON.refused["partial_rotary_factor"]}
_IN_ROPE = Keys(
    read=keys_of(RopeParameters, gte.Stretch) - {*_WHOLE},
    without_effect=reasons({
        "describes the checkpoint": "finetuned",
        "longrope only, which is refused": "long_factor short_factor",
        "a text's tokens have one position each": "mrope_interleaved mrope_section",
    }),
    refused=_WHOLE,
)  # fmt: skip
_LAYER_TYPES = ("full_attention", "sliding_attention")
_ROPE = Keys(
    read={*_LAYER_TYPES, *_IN_ROPE.read},
    without_effect=_IN_ROPE.without_effect,
    refused=_WHOLE,
    nested=dict.fromkeys(_LAYER_TYPES, _IN_ROPE),
)
_ROTARY = {"rope_theta", "rope_scaling", "rope_parameters", "original_max_position_embeddings"}
_NESTED = {"rope_scaling": _ROPE, "rope_parameters": _ROPE}


def _type(*names: str) -> dict[str, Only]:
    """The model types whose class of transformers computes what the architecture's does."""
    return {"model_type": Only(names, "transformers goes by model_type, and openbei by architectures")}


_BERT = {*keys_of(bert.BertConfig), *bert.ONLY}
_OLD_POOLER = (
    "directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type"
)
_ROBERTA = Keys(_BERT, refused=_type("roberta", "xlm-roberta", "camembert"))
_GTE = Keys(
    {*_BERT, *_ROTARY, *gte.ONLY, "head_dim"},
    without_effect={"logn_attention_clip1": "of logn_attention_scale, which is refused"},
    nested=_NESTED,
)
_JINA = Keys(
    {*_BERT, "feed_forward_type"},
    without_effect={"emb_pooler": "modules.json says how to pool"},
)
_DECODER = {*keys_of(llama.Decoder), *fields.BIASES, *_ROTARY}
_BIDIRECTIONAL = {*_DECODER, *keys_of(fields.Classifier)}
_NO_WINDOW = "the layers of this family have none; transformers ignores the key, and openbei would follow it"
_CAUSAL = "transformers ignores the key here, and goes by is_causal"
_IN_A_DECODER = reasons({"the model is a decoder in any case": "is_decoder"})
_MROPE = reasons({"a text's tokens have one position each": "use_mrope"})
_OF_QWEN2 = {**_IN_A_DECODER, **_MROPE, **dict.fromkeys(fields.BIASES, "Qwen2 has biases where it has them")}
_HEAD_BIAS = {"token_classification_bias": Only((True,), "a token classifier's last map has a bias")}
_BOTH_WAYS = {"use_bidirectional_attention": Only((False,), _CAUSAL), **_HEAD_BIAS}
_WINDOWLESS = {"sliding_window": Only((), _NO_WINDOW), **_HEAD_BIAS}
_GEMMA = {*_DECODER, "hidden_activation"}
_GEMMA2_ACT = {"hidden_act": "hidden_activation is the one that is read"}
_GEMMA3 = Keys(
    {*_GEMMA, *keys_of(gemma2.Gemma2), "final_logit_softcapping", "rope_local_base_freq"},
    {
        **_IN_A_DECODER,
        "_sliding_window_pattern": "transformers writes layer_types beside it, which is read",
        **_GEMMA2_ACT,
        "attn_logit_softcapping": "Gemma 3 caps no scores",
    },
    _HEAD_BIAS,
    _NESTED,
)
_NOMIC_KERNEL = (
    "dense_seq_output fused_bias_fc fused_dropout_add_ln last_layer_subset moe_impl pad_vocab_size_multiple "
    "use_fused_mlp use_xentropy"
)

ARCHITECTURES: dict[str, Keys] = {
    "Bert": Keys(_BERT, reasons({"of a pooler that transformers has not": _OLD_POOLER}), _type("bert")),
    "Roberta": _ROBERTA,
    "XLMRoberta": _ROBERTA,
    "Camembert": _ROBERTA,
    "DistilBert": Keys(
        {*_BERT, *distilbert.FIELDS},
        reasons({
            "position embeddings are in the checkpoint": "sinusoidal_pos_embds",
            "DistilBERT has activation and hidden_dim": "hidden_act intermediate_size",
            "the epsilon of DistilBERT's norms is no field": "layer_norm_eps",
            COMMON.without_effect["type_vocab_size"]: "type_vocab_size",
        }),
        _type("distilbert"),
    ),
    "Electra": Keys(
        {*_BERT, *electra.DEFAULTS},
        reasons({"multiple choice only": "summary_activation summary_proj_to_labels summary_type summary_use_proj"}),
        _type("electra"),
    ),
    "MPNet": Keys(
        {*_BERT, *mpnet.DEFAULTS},
        {"type_vocab_size": COMMON.without_effect["type_vocab_size"]},
        _type("mpnet"),
    ),
    "DebertaV2": Keys(
        {*_BERT, *keys_of(deberta_v2.DebertaConfig, fields.RelativePositions), "attention_head_size", "conv_groups",
         "embedding_size", "pooler_hidden_size"},
        {"legacy": "names of tensors say which head for masks there is"},
        _type("deberta-v2"),
    ),
    "ModernBert": Keys(
        {*keys_of(modernbert.ModernBertConfig), *modernbert.BIASES, *_ROTARY, "decoder_bias", "head_dim",
         "sliding_window"},
        reasons({
            "training only": "sparse_pred_ignore_index sparse_prediction",
            "chooses how to compute, not what": "deterministic_flash_attn repad_logits_with_grad",
            "norm_eps is the one that is read": "layer_norm_eps",
            "rope_parameters says how heads turn": "position_embedding_type",
        }),
        {
            **_type("modernbert"),
            "rope_theta": Only((), "transformers goes by global_rope_theta and local_rope_theta, or rope_parameters"),
        },
        _NESTED,
    ),
    "NomicBert": Keys(
        {*_BERT, *_ROTARY, *keys_of(fields.Mixture), *nomic.FIELDS, *nomic.BIASES, *nomic.ONLY, "head_dim",
         "max_trained_positions", "rotary_scaling_factor"},
        reasons({
            "chooses how to compute, not what": _NOMIC_KERNEL,
            "of GPT-2, whose config this one was made of": (
                "reorder_and_upcast_attn scale_attn_by_inverse_layer_idx scale_attn_weights summary_activation "
                "summary_proj_to_labels summary_type summary_use_proj"
            ),
            "of parallel_block, which is refused": "parallel_block_tied_norm",
            "tensors say whether there is a pooler": "add_pooling_layer",
        }),
        {
            **_type("nomic_bert"),
            "norm_mlp": Only((False,), "no norm stands within an MLP"),
            "num_heads_kv": Only((), "as many heads for keys as for queries"),
            "rotary_head_dim": Only((False,), "heads turn by position"),
        },
        _NESTED,
    ),
    "JinaBert": _JINA,
    "JinaCodeBert": _JINA,
    "Gte": Keys(_GTE.read, _GTE.without_effect, _type("gte"), _NESTED),
    "New": _GTE,
    "EuroBert": Keys(
        {*_DECODER, "classifier_pooling"},
        {**_IN_A_DECODER, "clf_pooling": "older code reads it; transformers reads classifier_pooling"},
        {**_type("eurobert"), **_WINDOWLESS, "is_causal": COMMON.refused["is_causal"]},
        _NESTED,
    ),
    "Llama": Keys(_DECODER, _IN_A_DECODER, {**_type("llama"), **_WINDOWLESS, **_BOTH_WAYS}, _NESTED),
    "LlamaBidirectional": Keys(_BIDIRECTIONAL, _IN_A_DECODER, _WINDOWLESS, _NESTED),
    "Mistral": Keys(
        _DECODER,
        {**_IN_A_DECODER, **dict.fromkeys(fields.BIASES, "Mistral has no biases")},
        {
            **_type("mistral", "ministral"), **_BOTH_WAYS,
            "use_sliding_window": Only((True,), "transformers goes by sliding_window alone"),
            "max_window_layers": Only((0,), "transformers goes by sliding_window alone"),
        },
        _NESTED,
    ),
    "Qwen2": Keys(_DECODER, _OF_QWEN2, {**_type("qwen2"), **_BOTH_WAYS}, _NESTED),
    "Qwen2Bidirectional": Keys(_BIDIRECTIONAL, _OF_QWEN2, _HEAD_BIAS, _NESTED),
    "Qwen3": Keys(_DECODER, {**_IN_A_DECODER, **_MROPE}, {**_type("qwen3"), **_BOTH_WAYS}, _NESTED),
    "Qwen3Bidirectional": Keys(_BIDIRECTIONAL, _IN_A_DECODER, _HEAD_BIAS, _NESTED),
    "Gemma": Keys(_GEMMA, _IN_A_DECODER, {**_type("gemma"), **_WINDOWLESS}, _NESTED),
    "Gemma2": Keys(
        {*_GEMMA, *keys_of(gemma2.Gemma2), "final_logit_softcapping"},
        {**_IN_A_DECODER, **_GEMMA2_ACT},
        {
            **_type("gemma2"), **_HEAD_BIAS,
            "sliding_window_pattern": Only((2,), "transformers goes by layer_types, and by turns without them"),
        },
        _NESTED,
    ),
    "Gemma3Text": Keys(_GEMMA3.read, _GEMMA3.without_effect, {**_GEMMA3.refused, **_type("gemma3_text")}, _NESTED),
    "Gemma3Bidirectional": Keys({*_GEMMA3.read, *_BIDIRECTIONAL}, _GEMMA3.without_effect, _GEMMA3.refused, _NESTED),
}  # fmt: skip
"""Beginning of an architecture's name, as in `openbei.families.FAMILIES` -> its keys beside COMMON."""


def config_keys(beginning: str, config: Mapping[str, object]) -> Keys:
    """The table of a config.json. Where it asks for code, its model_type is that of the code, and says nothing."""
    own = ARCHITECTURES[beginning]
    if "auto_map" in config:
        own = replace(own, refused={key: only for key, only in own.refused.items() if key != "model_type"})
    return COMMON.beneath(own)
