"""Small checkpoints of several kinds, and ways to corrupt one of their files."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.checkpoint import save_checkpoint, save_model, train_deberta_tokenizer, write_chain, write_json
from tests.families.test_nomic_moe import NOMIC
from tests.families.test_nomic_moe import save as save_nomic
from tests.generative import save_cross_encoder, save_generative, train_word_tokenizer
from tests.prose import WORDS
from tests.sentence_chain import randomize, save, transformer

SIZES = {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128}
YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "rope_theta": 10_000.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "attention_factor": 1.1,
}

VALUES = (
    "null",
    "true",
    "0",
    "-1",
    "1",
    "3",
    "0.5",
    "1e30",
    "1e-30",
    "-1e308",
    "1e999",
    "NaN",
    "4096",
    "16777216",
    "1000000000000",
    "1" + "0" * 40,
    '""',
    '"x"',
    '"../x"',
    f'"{"x" * 5000}"',
    '"\\ud800"',
    '"\\u0000"',
    "[]",
    "{}",
    "[1]",
    '["x"]',
    "[null]",
    '{"a": {"b": []}}',
    "[" * 2000 + "]" * 2000,
)
"""Valid and invalid JSON to replace a value with."""

FILES = (b"", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{}", b"[]", b"null", b"3", b'"x"', b'[{"type": 1}]', b"[" * 100_000)
"""Contents to replace a file with."""

JsonPath = tuple[str | int, ...]


def save_kinds(folder: Path, tokenizer_json: Path) -> dict[str, Path]:
    """Save a checkpoint of each kind; returns their folders by name."""
    from sentence_transformers.sentence_transformer import modules as m

    base = save_checkpoint(folder / "base", tokenizer_json)
    after_pooling = [randomize(m.Dense(128, 40)), m.Normalize(), randomize(m.LayerNorm(40)), m.Normalize()]
    modules = [transformer(base), m.Pooling(64, ("cls", "mean")), *after_pooling]
    save(folder / "bert", modules, prompts={"query": "find: "})
    routes = {"query": [randomize(m.Dense(64, 40), 1)], "document": [randomize(m.Dense(64, 40), 2)]}
    save(folder / "router", [transformer(base), m.Pooling(64), m.Router(routes, default_route="document")])
    relative: dict[str, Any] = {
        "type_vocab_size": 0,
        "relative_attention": True,
        "pos_att_type": "p2c|c2p",
        "position_buckets": 16,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
    }
    deberta_tokenizer = train_deberta_tokenizer(folder, WORDS[:5000])
    save_checkpoint(folder / "deberta", deberta_tokenizer, architecture="DebertaV2Model", **relative)
    save_nomic(save_checkpoint(folder / "nomic", tokenizer_json), NOMIC)
    save_cross_encoder(folder / "qwen3", save_generative(folder / "generative", train_word_tokenizer(folder)))
    save_model(folder / "distilbert", tokenizer_json, "DistilBertForMaskedLM", type_vocab_size=0, hidden_dim=96)
    write_json(folder / "distilbert/1_SpladePooling/config.json", {"pooling_strategy": "max"})
    write_json(folder / "distilbert/config_sentence_transformers.json", {"max_active_dims": 30})
    write_chain(folder / "distilbert", [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    layers: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 24}
    save_checkpoint(folder / "gemma3", tokenizer_json, architecture="Gemma3TextModel", **SIZES, **layers)
    causal: dict[str, Any] = {"num_labels": 3, "rope_parameters": YARN, **SIZES}
    save_model(folder / "llama", tokenizer_json, "LlamaForSequenceClassification", **causal)
    tokens: dict[str, Any] = {"num_labels": 3, "type_vocab_size": 0, "local_attention": 16}
    save_model(folder / "modernbert", tokenizer_json, "ModernBertForTokenClassification", **tokens)
    return {path.name: path for path in folder.iterdir() if path.is_dir() and path.name not in ("base", "generative")}


def files_of(checkpoint: Path) -> list[str]:
    """All files of a checkpoint, relative to its folder."""
    return sorted(str(file.relative_to(checkpoint)) for file in checkpoint.rglob("*") if file.is_file())


def split_safetensors(content: bytes) -> tuple[str, bytes]:
    """The JSON header and the data of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end].decode(), content[end:]


def join_safetensors(header: str, data: bytes) -> bytes:
    """A safetensors file with a JSON header and data."""
    return len(header.encode()).to_bytes(8, "little") + header.encode() + data


def paths_in(value: Any, at: JsonPath = ()) -> Iterator[JsonPath]:
    """The paths of all values in decoded JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths_in(inner, (*at, key))


def replace_value(text: str, path: JsonPath, value: str | None) -> str:
    """Replace the value at a path by the text `value`, or remove it if that is None."""
    document = json.loads(text)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    if value is None:
        del parent[path[-1]]
        return json.dumps(document)
    parent[path[-1]] = "@@"
    return json.dumps(document).replace('"@@"', value)


def copy_with(checkpoint: Path, copy: Path, file: str, content: bytes | None) -> Path:
    """Copy a checkpoint with a file replaced, or removed if `content` is None."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(checkpoint, copy)
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    return copy
