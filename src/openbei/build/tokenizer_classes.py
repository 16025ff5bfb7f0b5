"""Tokenizer classes of transformers 5, most of which build a tokenizer from their settings and a vocabulary.

They ignore the normalizer and pre-tokenizer in tokenizer.json, and some also its post-processor
(TokenizersBackend.convert_to_native_format, and tokenization_*.py of each class).
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from openbei.build.tokenizer_settings import Special, TokenizerSettings, text_of

Content = Mapping[str, Any]
"""A decoded tokenizer.json."""

BERT_NAMES = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
ROBERTA_NAMES = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
ENDOFTEXT = "<|endoftext|>"
SPACE = "▁"
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The pre-tokenization regex of Qwen2Tokenizer."""


class TokenizerClass(NamedTuple):
    """A tokenizer class: `build` makes a tokenizer from the decoded tokenizer.json and the settings.

    `post_processor` is called after all tokens have been added; None keeps that of the file. `special_tokens` are
    defaults by name, `extra` the default unnamed special tokens.
    """

    build: Callable[[Content, TokenizerSettings], Tokenizer]
    special_tokens: Mapping[str, Special]
    post_processor: Callable[[Tokenizer, TokenizerSettings], processors.PostProcessor] | None = None
    model_inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    extra: tuple[str, ...] = ()

    @property
    def needs_merges(self) -> bool:
        """Whether the model is BPE."""
        return self.build in (_byte_level, _qwen2, _llama, _gemma)

    @property
    def vocabulary_type(self) -> type:
        """The type of the vocabulary in tokenizer.json: a list for Unigram, else a mapping."""
        return list if self.build in (_xlm_roberta, _camembert, _deberta_v2) else dict


def _bert(content: Content, settings: TokenizerSettings) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(content["model"]["vocab"], unk_token=text_of(settings.special["unk_token"])))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.get("tokenize_chinese_chars", bool, True),
        strip_accents=settings.get("strip_accents", bool),
        lowercase=settings.get("do_lower_case", bool, True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _byte_level(content: Content, settings: TokenizerSettings) -> Tokenizer:
    tokenizer = Tokenizer(_bpe(content, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    adds_space = settings.get("add_prefix_space", bool, False)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=adds_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _qwen2(content: Content, settings: TokenizerSettings) -> Tokenizer:
    tokenizer = _byte_level(content, settings)
    tokenizer.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated", invert=False)
    adds_space = settings.get("add_prefix_space", bool, False)
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=adds_space, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pieces])
    return tokenizer


def _llama(content: Content, settings: TokenizerSettings) -> Tokenizer:
    tokenizer = Tokenizer(_bpe(content, fuse_unk=True, byte_fallback=True))
    adds_space = settings.get("add_prefix_space", bool, True)
    scheme = ("always" if settings.get("legacy", bool, False) else "first") if adds_space else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, *([decoders.Strip(content=" ", left=1)] if adds_space else [])])
    return tokenizer


def _gemma(content: Content, settings: TokenizerSettings) -> Tokenizer:
    unk_token = text_of(settings.special["unk_token"])
    tokenizer = Tokenizer(_bpe(content, fuse_unk=True, byte_fallback=True, unk_token=unk_token))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous", invert=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _xlm_roberta(content: Content, settings: TokenizerSettings) -> Tokenizer:
    return _sentencepiece(content, settings, unk_id=3)


def _camembert(content: Content, settings: TokenizerSettings) -> Tokenizer:
    unk_token = text_of(settings.special["unk_token"])
    found = (i for i, (token, _) in enumerate(_pieces(content)) if token == unk_token)
    return _sentencepiece(content, settings, unk_id=next(found, 0))


def _sentencepiece(content: Content, settings: TokenizerSettings, unk_id: int) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram(_pieces(content), unk_id=unk_id, byte_fallback=False))
    if charsmap := _charsmap(content.get("normalizer")):
        tokenizer.normalizer = normalizers.Precompiled(base64.b64decode(charsmap))
    scheme = "always" if settings.get("add_prefix_space", bool, True) else "never"
    spaces = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces])
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    return tokenizer


def _deberta_v2(content: Content, settings: TokenizerSettings) -> Tokenizer:
    pieces, unk_token = _pieces(content), (text_of(settings.special["unk_token"]), 0.0)
    unk_id = pieces.index(unk_token) if unk_token in pieces else settings.get("unk_id", int, 1)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unk_id, byte_fallback=False))
    lowercase = [normalizers.Lowercase()] if settings.get("do_lower_case", bool, False) else []
    collapse_spaces = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    strip_right = normalizers.Strip(left=False, right=True)
    tokenizer.normalizer = normalizers.Sequence([*lowercase, collapse_spaces, normalizers.NFC(), strip_right])
    scheme = "always" if settings.get("add_prefix_space", bool, True) else "first"
    splits = settings.get("split_by_punct", bool, False)
    punctuation = [pre_tokenizers.Punctuation(behavior="isolated")] if splits else []
    metaspace = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*punctuation, metaspace])
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    return tokenizer


def _bpe(content: Content, **options: str | bool) -> models.BPE:
    pairs = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in content["model"]["merges"])
    merges = [(str(left), str(right)) for left, right in pairs]
    return models.BPE(vocab=content["model"]["vocab"], merges=merges, dropout=None, **options)


def _pieces(content: Content) -> list[tuple[str, float]]:
    return [(str(token), float(score)) for token, score in content["model"]["vocab"]]


def _charsmap(normalizer: dict[str, Any] | None) -> str | None:
    """The character map of SentencePiece in a normalizer or a sequence of normalizers."""
    steps = (normalizer or {}).get("normalizers", [normalizer or {}])
    return next((step["precompiled_charsmap"] for step in steps if step.get("type") == "Precompiled"), None)


def _cls_sep(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    ids = _ids(tokenizer, settings, "cls_token", "sep_token")
    (cls, _), (sep, _) = ids
    single = f"{cls}:0 $A:0 {sep}:0"
    return processors.TemplateProcessing(
        single=single, pair=f"{single} $B:1 {sep}:1", special_tokens=[*dict(ids).items()]
    )


def _roberta_post_processor(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    trims, adds_space = settings.get("trim_offsets", bool, True), settings.get("add_prefix_space", bool, False)
    return _two_seps(tokenizer, settings, trims, adds_space)


def _mpnet_post_processor(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    return _two_seps(tokenizer, settings, True, False)


def _two_seps(
    tokenizer: Tokenizer, settings: TokenizerSettings, trims: bool, adds_space: bool
) -> processors.PostProcessor:
    sep, cls = _ids(tokenizer, settings, "sep_token", "cls_token")
    return processors.RobertaProcessing(sep, cls, trims, adds_space)


def _ids(tokenizer: Tokenizer, settings: TokenizerSettings, *names: str) -> list[tuple[str, int]]:
    """The texts and ids of named special tokens. Raises KeyError if one is missing."""
    vocabulary = tokenizer.get_vocab()
    tokens = (text_of(settings.special[name]) for name in names)
    return [(token, vocabulary[token]) for token in tokens]


def _bos_eos(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    ids = _ids(tokenizer, settings, "bos_token", "eos_token")
    (bos, _), (eos, _) = ids
    return processors.TemplateProcessing(
        single=[bos, "$A", eos], pair=[bos, "$A", eos, eos, "$B", eos], special_tokens=[*dict(ids).items()]
    )


_TYPED = ("input_ids", "token_type_ids", "attention_mask")
_MASK = AddedToken("<mask>", lstrip=True, special=True)
_MPNET: dict[str, Special] = {
    name: AddedToken(token, lstrip=name == "mask_token", normalized=True)
    for name, token in {**ROBERTA_NAMES, "unk_token": "[UNK]"}.items()
}

CLASSES: dict[str, TokenizerClass] = {
    "BertTokenizer": TokenizerClass(_bert, BERT_NAMES, _cls_sep, _TYPED),
    "DistilBertTokenizer": TokenizerClass(_bert, BERT_NAMES, _cls_sep),
    "MPNetTokenizer": TokenizerClass(_bert, _MPNET, _mpnet_post_processor),
    "RobertaTokenizer": TokenizerClass(_byte_level, ROBERTA_NAMES, _roberta_post_processor),
    "XLMRobertaTokenizer": TokenizerClass(_xlm_roberta, ROBERTA_NAMES, _bos_eos),
    "CamembertTokenizer": TokenizerClass(
        _camembert,
        {**ROBERTA_NAMES, "mask_token": _MASK},
        _bos_eos,
        extra=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    "DebertaV2Tokenizer": TokenizerClass(
        _deberta_v2, {**BERT_NAMES, "bos_token": "[CLS]", "eos_token": "[SEP]"}, _cls_sep, _TYPED
    ),
    "GPT2Tokenizer": TokenizerClass(_byte_level, dict.fromkeys(("unk_token", "bos_token", "eos_token"), ENDOFTEXT)),
    "Qwen2Tokenizer": TokenizerClass(_qwen2, dict.fromkeys(("unk_token", "eos_token", "pad_token"), ENDOFTEXT)),
    "LlamaTokenizer": TokenizerClass(_llama, {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}),
    "GemmaTokenizer": TokenizerClass(
        _gemma,
        {
            "unk_token": "<unk>",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
        },
    ),
}
"""Class name without `Fast` -> class. Other classes use tokenizer.json unchanged."""

UNCHANGED = ("TokenizersBackend", "PreTrainedTokenizer")
"""Classes that use tokenizer.json unchanged in transformers, too."""

CLASS_OF_MODEL_TYPE: dict[str, str] = {
    **dict.fromkeys(("bert", "distilbert", "electra", "nomic_bert"), "BertTokenizer"),
    **dict.fromkeys(("xlm-roberta", "gte", "jina_embeddings_v3"), "XLMRobertaTokenizer"),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "GemmaTokenizer"),
    **dict.fromkeys(("qwen2", "qwen3"), "Qwen2Tokenizer"),
    **dict.fromkeys(("modernbert", "mistral"), "TokenizersBackend"),
    "roberta": "RobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "mpnet": "MPNetTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
"""model_type of config.json -> default class (TOKENIZER_MAPPING_NAMES of transformers)."""

OVERRIDING_MODEL_TYPES = ("modernbert", "qwen2")
"""Model types whose default class overrides tokenizer_class."""


def resolve_class(config: Mapping[str, Any], configured: str | None, has_code: bool, is_byte_level: bool) -> str:
    """The class that AutoTokenizer would use, without `Fast`; `configured` is tokenizer_class of tokenizer_config.json.

    `has_code` is set if tokenizer_config.json has an auto_map, `is_byte_level` if tokenizer.json is byte-level.
    """
    model_type = str(config.get("model_type", ""))
    configured = configured or config.get("tokenizer_class")
    default = CLASS_OF_MODEL_TYPE.get(model_type)
    if not configured:
        return default or UNCHANGED[0]
    name = str(configured).removesuffix("Fast")
    if has_code:
        return name
    if name == "LlamaTokenizer" and model_type not in OVERRIDING_MODEL_TYPES and is_byte_level:
        return UNCHANGED[0]
    if default in UNCHANGED and default != name:
        return UNCHANGED[0]
    if default is not None and model_type in OVERRIDING_MODEL_TYPES:
        return default
    return name
