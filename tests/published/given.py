"""What published checkpoints are asked: varied texts, and texts in which special tokens are spelled out."""

from tests.prose import texts

ODD = [
    "a",
    "?!",
    "3.14159, 1,000,000 and -7e-12",
    "SHOUTED IN CAPITALS, then MixedCase",
    "Der Fluß, die Straße; où est l'été? ¿Mañana?",
    "Пример на русском языке, и ещё немного.",
    "日本語の文章です。中文句子也在这里。한국어 문장도.",
    "نص عربي قصير مع علامات، وبعض الأرقام ١٢٣",
    "emoji 🙂🚀 and a family 👨‍👩‍👧‍👦, then text",
    "combining e\u0301 and composed \u00e9, a zero\u200bwidth space, a soft\u00adhyphen",
    "tabs\tand\nnew lines\r\nand  many    spaces ",
    "def f(x: int) -> int: return x ** 2  # code",
    "https://example.com/a/b?c=d&e=%20f#g and someone@example.com",
    "pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
]

VARIED = [*ODD, *texts(20, longest=90, seed=11), texts(2, longest=450, seed=12)[1]]

SPECIAL = ["<pad>", "<s>", "</s>", "<mask>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"]

SPELLED_OUT = [
    *(f"a text with {token} in the middle of it" for token in SPECIAL),
    *(f"{token} at the beginning, and at the end {token}" for token in SPECIAL),
    *(f"in{token}side of a word" for token in SPECIAL),
    *SPECIAL,
    " ".join(SPECIAL),
    "".join(SPECIAL),
    "words, then <pad><pad> <pad> and words again",
]
