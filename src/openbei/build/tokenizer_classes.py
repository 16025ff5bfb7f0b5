"""Tokenizer classes of transformers 5: most rebuild the tokenizer from the vocabulary of tokenizer.json and settings.

What tokenizer.json says of normalizer and pre-tokenizer then has no effect, and for some classes neither has its
post-processor (TokenizersBackend.convert_to_native_format, and each class's tokenization_*.py).
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from openbei.build.tokenizer_settings import Special, TokenizerSettings, text_of

Content = Mapping[str, Any]
"""A decoded tokenizer.json."""

BERT_NAMES = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
              "mask_token": "[MASK]"}  # fmt: skip
ROBERTA_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>",
                 "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}  # fmt: skip
ENDOFTEXT = "<|endoftext|>"
SPACE = "▁"
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What Qwen2Tokenizer splits a text into."""


class Rebuilt(NamedTuple):
    """How a class makes a tokenizer: from the file's content and the settings, which have the class's defaults.

    `frame` makes the post-processor once all tokens have ids; None keeps the file's. `names` are the special tokens
    that the class has by default, and `extra` those that have no name.
    """

    build: Callable[[Content, TokenizerSettings], Tokenizer]
    names: Mapping[str, Special]
    frame: Callable[[Tokenizer, TokenizerSettings], processors.PostProcessor] | None = None
    model_inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    extra: tuple[str, ...] = ()

    @property
    def needs_merges(self) -> bool:
        """Whether it makes a BPE."""
        return self.build in (_byte_level, _qwen2, _llama, _gemma)

    @property
    def vocabulary(self) -> type:
        """What the vocabulary of tokenizer.json must be: a list of a Unigram, or a mapping."""
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
    tokenizer = Tokenizer(_pairs(content, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
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
    tokenizer = Tokenizer(_pairs(content, fuse_unk=True, byte_fallback=True))
    adds_space = settings.get("add_prefix_space", bool, True)
    scheme = ("always" if settings.get("legacy", bool, False) else "first") if adds_space else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, *([decoders.Strip(content=" ", left=1)] if adds_space else [])])
    return tokenizer


def _gemma(content: Content, settings: TokenizerSettings) -> Tokenizer:
    unknown = text_of(settings.special["unk_token"])
    tokenizer = Tokenizer(_pairs(content, fuse_unk=True, byte_fallback=True, unk_token=unknown))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous", invert=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _xlm_roberta(content: Content, settings: TokenizerSettings) -> Tokenizer:
    return _sentencepiece(content, settings, unk_id=3)


def _camembert(content: Content, settings: TokenizerSettings) -> Tokenizer:
    unknown = text_of(settings.special["unk_token"])
    found = (i for i, (token, _) in enumerate(_pieces(content)) if token == unknown)
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
    pieces, unknown = _pieces(content), (text_of(settings.special["unk_token"]), 0.0)
    unk_id = pieces.index(unknown) if unknown in pieces else settings.get("unk_id", int, 1)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=unk_id, byte_fallback=False))
    steps = [normalizers.Lowercase()] if settings.get("do_lower_case", bool, False) else []
    spaces = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    ends = normalizers.Strip(left=False, right=True)
    tokenizer.normalizer = normalizers.Sequence([*steps, spaces, normalizers.NFC(), ends])
    scheme = "always" if settings.get("add_prefix_space", bool, True) else "first"
    splits = settings.get("split_by_punct", bool, False)
    marks = [pre_tokenizers.Punctuation(behavior="isolated")] if splits else []
    words = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*marks, words])
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=scheme)
    return tokenizer


def _pairs(content: Content, **how: str | bool) -> models.BPE:
    pairs = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in content["model"]["merges"])
    merges = [(str(left), str(right)) for left, right in pairs]
    return models.BPE(vocab=content["model"]["vocab"], merges=merges, dropout=None, **how)


def _pieces(content: Content) -> list[tuple[str, float]]:
    return [(str(token), float(score)) for token, score in content["model"]["vocab"]]


def _charsmap(normalizer: dict[str, Any] | None) -> str | None:
    """The character map of SentencePiece in a normalizer, or in a sequence of them."""
    steps = (normalizer or {}).get("normalizers", [normalizer or {}])
    return next((step["precompiled_charsmap"] for step in steps if step.get("type") == "Precompiled"), None)


def _cls_sep(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    ids = _ids(tokenizer, settings, "cls_token", "sep_token")
    (cls, _), (sep, _) = ids
    single = f"{cls}:0 $A:0 {sep}:0"
    return processors.TemplateProcessing(
        single=single, pair=f"{single} $B:1 {sep}:1", special_tokens=[*dict(ids).items()]
    )


def _roberta_frame(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    trims, adds_space = settings.get("trim_offsets", bool, True), settings.get("add_prefix_space", bool, False)
    return _two_seps(tokenizer, settings, trims, adds_space)


def _mpnet_frame(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    return _two_seps(tokenizer, settings, True, False)


def _two_seps(
    tokenizer: Tokenizer, settings: TokenizerSettings, trims: bool, adds_space: bool
) -> processors.PostProcessor:
    sep, cls = _ids(tokenizer, settings, "sep_token", "cls_token")
    return processors.RobertaProcessing(sep, cls, trims, adds_space)


def _ids(tokenizer: Tokenizer, settings: TokenizerSettings, *names: str) -> list[tuple[str, int]]:
    """Special tokens and their ids, by name. Raises KeyError for one that is not there."""
    vocabulary, tokens = tokenizer.get_vocab(), [text_of(settings.special[name]) for name in names]
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
    name: AddedToken(token, lstrip=name == "mask_token", normalized=True) for name, token in
    {**ROBERTA_NAMES, "unk_token": "[UNK]"}.items()
}  # fmt: skip

CLASSES: dict[str, Rebuilt] = {
    "BertTokenizer": Rebuilt(_bert, BERT_NAMES, _cls_sep, _TYPED),
    "DistilBertTokenizer": Rebuilt(_bert, BERT_NAMES, _cls_sep),
    "MPNetTokenizer": Rebuilt(_bert, _MPNET, _mpnet_frame),
    "RobertaTokenizer": Rebuilt(_byte_level, ROBERTA_NAMES, _roberta_frame),
    "XLMRobertaTokenizer": Rebuilt(_xlm_roberta, ROBERTA_NAMES, _bos_eos),
    "CamembertTokenizer": Rebuilt(
        _camembert, {**ROBERTA_NAMES, "mask_token": _MASK}, _bos_eos,
        extra=("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED")),
    "DebertaV2Tokenizer": Rebuilt(
        _deberta_v2, {**BERT_NAMES, "bos_token": "[CLS]", "eos_token": "[SEP]"}, _cls_sep, _TYPED),
    "GPT2Tokenizer": Rebuilt(_byte_level, dict.fromkeys(("unk_token", "bos_token", "eos_token"), ENDOFTEXT)),
    "Qwen2Tokenizer": Rebuilt(_qwen2, dict.fromkeys(("unk_token", "eos_token", "pad_token"), ENDOFTEXT)),
    "LlamaTokenizer": Rebuilt(_llama, {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}),
    "GemmaTokenizer": Rebuilt(
        _gemma, {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
                 "mask_token": "<mask>"}),
}  # fmt: skip
"""Class -> how it rebuilds; classes that are not here take tokenizer.json as it is."""

PLAIN = ("TokenizersBackend", "PreTrainedTokenizer")
"""Classes that take tokenizer.json as it is, in transformers, too; names are without their `Fast`."""

OF_MODEL_TYPE: dict[str, str] = {
    **dict.fromkeys(("bert", "distilbert", "electra", "nomic_bert"), "BertTokenizer"),
    **dict.fromkeys(("xlm-roberta", "gte", "jina_embeddings_v3"), "XLMRobertaTokenizer"),
    **dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "GemmaTokenizer"),
    **dict.fromkeys(("qwen2", "qwen3"), "Qwen2Tokenizer"),
    **dict.fromkeys(("modernbert", "mistral"), "TokenizersBackend"),
    "roberta": "RobertaTokenizer", "camembert": "CamembertTokenizer", "mpnet": "MPNetTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}  # fmt: skip
"""model_type of config.json -> its class (TOKENIZER_MAPPING_NAMES of transformers)."""

DISTRUSTED = ("modernbert", "qwen2")
"""Model types whose own class is taken, whatever a checkpoint names."""


def class_of(config: Mapping[str, Any], named: str | None, has_code: bool, is_byte_level: bool) -> str:
    """The tokenizer class that AutoTokenizer takes for a config.json and `tokenizer_class` of tokenizer_config.json.

    `has_code` if tokenizer_config.json names code, which is not run. `is_byte_level` if tokenizer.json is.
    """
    model_type, given = str(config.get("model_type", "")), named or config.get("tokenizer_class")
    wanted, own = str(given or "").removesuffix("Fast"), OF_MODEL_TYPE.get(model_type)
    if not given:
        return own or PLAIN[0]
    if not has_code:
        if wanted == "LlamaTokenizer" and model_type not in DISTRUSTED and is_byte_level:
            return PLAIN[0]
        if own is not None and own != wanted:
            return PLAIN[0] if own in PLAIN else own if model_type in DISTRUSTED else wanted
    return wanted
