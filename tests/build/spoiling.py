"""Small checkpoints of several kinds, and what can be wrong in one of their files."""

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
from tests.sentence_chain import lively, save, transformer

SIZES = {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128}
STRETCH = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0,
           "beta_fast": 32.0, "beta_slow": 1.0, "attention_factor": 1.1}  # fmt: skip

VALUES = (
    "null", "true", "0", "-1", "1", "3", "0.5", "1e30", "1e-30", "-1e308", "1e999", "NaN", "4096", "16777216",
    "1000000000000", "1" + "0" * 40, '""', '"x"', '"../x"', f'"{"x" * 5000}"', '"\\ud800"', '"\\u0000"', "[]", "{}",
    "[1]", '["x"]', "[null]", '{"a": {"b": []}}', "[" * 2000 + "]" * 2000,
)  # fmt: skip
"""JSON, and what is none, that is put in the place of a value."""

FILES = (b"", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{}", b"[]", b"null", b"3", b'"x"', b'[{"type": 1}]', b"[" * 100_000)
"""What is put in the place of a file."""

Place = tuple[str | int, ...]


def save_kinds(folder: Path, tokenizer_json: Path) -> dict[str, Path]:
    """A folder for each kind of checkpoint."""
    from sentence_transformers.sentence_transformer import modules as m

    base = save_checkpoint(folder / "base", tokenizer_json)
    behind = [lively(m.Dense(128, 40)), m.Normalize(), lively(m.LayerNorm(40)), m.Normalize()]
    save(folder / "bert", [transformer(base), m.Pooling(64, ("cls", "mean")), *behind], prompts={"query": "find: "})
    routes = {"query": [lively(m.Dense(64, 40), 1)], "document": [lively(m.Dense(64, 40), 2)]}
    save(folder / "router", [transformer(base), m.Pooling(64), m.Router(routes, default_route="document")])
    relative: dict[str, Any] = {
        "type_vocab_size": 0, "relative_attention": True, "pos_att_type": "p2c|c2p", "position_buckets": 16,
        "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
    }  # fmt: skip
    of_deberta = train_deberta_tokenizer(folder, WORDS[:5000])
    save_checkpoint(folder / "deberta", of_deberta, architecture="DebertaV2Model", **relative)
    save_nomic(save_checkpoint(folder / "nomic", tokenizer_json), NOMIC)
    save_cross_encoder(folder / "qwen3", save_generative(folder / "generative", train_word_tokenizer(folder)))
    save_model(folder / "distilbert", tokenizer_json, "DistilBertForMaskedLM", type_vocab_size=0, hidden_dim=96)
    write_json(folder / "distilbert/1_SpladePooling/config.json", {"pooling_strategy": "max"})
    write_json(folder / "distilbert/config_sentence_transformers.json", {"max_active_dims": 30})
    write_chain(folder / "distilbert", [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    layers: dict[str, Any] = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 24}
    save_checkpoint(folder / "gemma3", tokenizer_json, architecture="Gemma3TextModel", **SIZES, **layers)
    causal: dict[str, Any] = {"num_labels": 3, "rope_parameters": STRETCH, **SIZES}
    save_model(folder / "llama", tokenizer_json, "LlamaForSequenceClassification", **causal)
    tokens: dict[str, Any] = {"num_labels": 3, "type_vocab_size": 0, "local_attention": 16}
    save_model(folder / "modernbert", tokenizer_json, "ModernBertForTokenClassification", **tokens)
    return {path.name: path for path in folder.iterdir() if path.is_dir() and path.name not in ("base", "generative")}


def files_of(checkpoint: Path) -> list[str]:
    """What a build may read of it."""
    return sorted(str(file.relative_to(checkpoint)) for file in checkpoint.rglob("*") if file.is_file())


def header_of(content: bytes) -> tuple[str, bytes]:
    """JSON and data of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end].decode(), content[end:]


def with_header(header: str, data: bytes) -> bytes:
    """The same, together again."""
    return len(header.encode()).to_bytes(8, "little") + header.encode() + data


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Of every value in decoded JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def replaced(text: str, place: Place, value: str | None) -> str:
    """JSON with another value at a place; without it if that is None."""
    whole = json.loads(text)
    parent = whole
    for key in place[:-1]:
        parent = parent[key]
    if value is None:
        del parent[place[-1]]
        return json.dumps(whole)
    parent[place[-1]] = "@@"
    return json.dumps(whole).replace('"@@"', value)


def spoilt(checkpoint: Path, copy: Path, file: str, content: bytes | None) -> Path:
    """A copy with another file, or without it."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(checkpoint, copy)
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    return copy
