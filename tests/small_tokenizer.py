"""A tokenizer with a token for each of the words `w0` to `w999`, which adds [CLS] (2) and [SEP] (3)."""

from pathlib import Path

import tokenizers
from tokenizers import models, pre_tokenizers, processors

NUM_SPECIAL = 4
VOCAB_SIZE = NUM_SPECIAL + 1000
UNK, CLS, SEP = 1, 2, 3


def words(first: int, count: int) -> str:
    """`count` consecutive words from `w{first}`."""
    return " ".join(f"w{(first + i) % 1000}" for i in range(count))


def ids(first: int, count: int) -> list[int]:
    """The token ids of `words(first, count)`."""
    return [CLS, *(NUM_SPECIAL + (first + i) % 1000 for i in range(count)), SEP]


def write_tokenizer(path: Path) -> Path:
    """Write the tokenizer.json. Like those on the Hub it enables truncation and padding, which a server must ignore."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocab = {word: i for i, word in enumerate([*specials, *(f"w{i}" for i in range(1000))])}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.add_special_tokens(specials)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(length=32)
    tokenizer.save(str(path))
    return path
