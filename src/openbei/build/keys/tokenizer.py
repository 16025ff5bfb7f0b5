"""Keys of the other files in a transformer's folder, most of them for the tokenizer."""

from openbei.build.keys.table import AllowedValues, Keys, reason_by_key, split_keys

_SPECIAL = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token", "*_token"}
_EXTRA = {"additional_special_tokens", "extra_special_tokens", "model_specific_special_tokens"}
_TOKEN = Keys(read={"content", "lstrip", "normalized", "rstrip", "single_word", "special", "__type", "id"})
_TOKENS = dict.fromkeys(_SPECIAL | _EXTRA, _TOKEN)

TOKENIZER_CONFIG = Keys(
    read={
        *_SPECIAL,
        *_EXTRA,
        *split_keys(
            "add_bos_token add_eos_token add_prefix_space added_tokens_decoder auto_map chat_template "
            "do_lower_case fix_mistral_regex legacy max_len model_input_names model_max_length split_by_punct "
            "split_special_tokens strip_accents tokenize_chinese_chars tokenizer_class trim_offsets "
            "truncation_side unk_id"
        ),
    },
    without_effect=reason_by_key(
        {
            "decoding only": (
                "clean_up_tokenization_spaces clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output "
                "decode_with_prefix_space spaces_between_special_tokens"
            ),
            "batches are never padded": "pad_to_multiple_of pad_token_type_id padding padding_side",
            "truncation is a setting of the server": "max_length stride truncation_strategy",
            "settings of tokenizer classes that are read from tokenizer.json": (
                "do_lowercase extra_ids keep_accents remove_space use_token_type_ids vocab_type"
            ),
            "describes the file": (
                "_commit_hash backend files_loaded is_local local_files_only name_or_path special_tokens_map_file "
                "tokenizer_file transformers_version verbose"
            ),
            "slow tokenizers only": (
                "basic_tokenizer_class do_basic_tokenize do_word_tokenize errors from_slow full_tokenizer_file "
                "jumanpp_kwargs mecab_kwargs merges_file never_split sp_model_file sp_model_kwargs "
                "subword_tokenizer_type sudachi_kwargs tokenizer_type vocab_file word_tokenizer_type"
            ),
            "text generation only": "chat_control_tokens response_schema response_template use_default_system_prompt",
            "images and sound only": "image_token* processor_class audio_token* video_token* feature_extractor_type",
            "a setting of the loader": "cache_dir device_map revision trust_remote_code use_fast token",
        }
    ),
    refused={"init_inputs": AllowedValues((), "positional arguments of a tokenizer class are not supported")},
    nested={**_TOKENS, "added_tokens_decoder": Keys(nested={"*": _TOKEN})},
)

ADDED_TOKENS = Keys(read={"*"})
"""added_tokens.json: its keys are tokens."""

SPECIAL_TOKENS_MAP = Keys(read={*_SPECIAL, *_EXTRA}, nested=_TOKENS)

TOKENIZER = Keys(
    read={"added_tokens", "decoder", "model", "normalizer", "padding", "post_processor", "pre_tokenizer", "truncation"},
    without_effect={"version": "describes the file"},
    nested={"added_tokens": _TOKEN},
)
"""Top-level keys. The tokenizers library validates the rest."""

PROCESSOR_CONFIG = Keys(
    without_effect=reason_by_key(
        {
            "images and sound only": (
                "audio_* feature_extractor* image_* num_image_tokens patch_size processor_class video_* "
                "vision_feature_select_strategy"
            ),
            "the repository's code is not run": "auto_map",
        }
    )
)
SHARD_INDEX = Keys(read={"weight_map"}, without_effect={"metadata": "describes the file"})
