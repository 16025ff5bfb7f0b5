"""Trained tokenizers: WordPiece like BERT's, byte-level BPE like RoBERTa's, Unigram like XLM-R's and DeBERTa's."""

from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from .checkpoint import train_deberta_tokenizer, train_tokenizer
from .prose import WORDS

KINDS = ("wordpiece", "byte-level", "byte-level, space in front", "unigram", "unigram of DeBERTa")
BERT = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
ROBERTA = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}

MANY_SCRIPTS = [
    "Ada Lovelace met Charles Babbage in London, on 5 June 1833.",
    "  several   spaces, a\ttab\nand\n\nnewlines  ",
    "naïve Zoë O’Brien-Łukasz; El Niño (São Paulo) costs €5",
    "cafe\u0301 e\u0301\u0302 combining \u0301 alone, the\u0301re in a word",
    "東京は日本の首都です。 北京 mixed漢字text",
    "family 👨‍👩‍👧‍👦 flag 🇫🇷 🤗x🤗 z\u200dwj",
    "U.K.-based j.d. vance's don't; a/b_c@d.com #tag $1,000.00!!!",
    "ᚠᚢᚦ ᠮᠣᠩᠭᠣᠯ \U0001d4d0\U0001f9ff unknown",
    "spelled out [SEP] and </s> or [UNK] <unk>",
    "İstanbul ẞtraße ﬁne ½ Ⅳ",
    "a",
    " ",
]
"""Texts with difficult character offsets."""


def train(kind: str, path: Path) -> Path:
    """Train a tokenizer and write its tokenizer.json."""
    if kind == "wordpiece":
        return train_tokenizer(path.parent, WORDS[:20_000])
    if kind == "unigram of DeBERTa":
        return train_deberta_tokenizer(path.parent, WORDS[:20_000])
    tokenizer = _unigram() if kind == "unigram" else _byte_level(add_prefix_space="space" in kind)
    tokenizer.save(str(path))
    return path


def special_tokens(kind: str) -> dict[str, str]:
    """The special tokens to pass to transformers' tokenizer."""
    return BERT if kind in ("wordpiece", "unigram of DeBERTa") else ROBERTA


def _byte_level(*, add_prefix_space: bool) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        WORDS[:20_000],
        trainers.BpeTrainer(
            vocab_size=600,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=list(ROBERTA.values()),
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", tokenizer.token_to_id("</s>")),
        ("<s>", tokenizer.token_to_id("<s>")),
        trim_offsets=True,
        add_prefix_space=add_prefix_space,
    )
    return tokenizer


def _unigram() -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    specials = list(ROBERTA.values())
    trainer = trainers.UnigramTrainer(vocab_size=600, show_progress=False, unk_token="<unk>", special_tokens=specials)
    tokenizer.train_from_iterator(WORDS[:20_000], trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids
    )
    return tokenizer
