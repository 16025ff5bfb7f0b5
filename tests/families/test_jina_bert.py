"""JinaBERT v2 against a PyTorch implementation in this file, because transformers has none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from openbei.backends import load_engine
from openbei.batch import Output, PackedBatch
from openbei.errors import CheckpointError
from openbei.families import jina_bert
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import EmbeddingHead
from tests.checkpoint import build_engine
from tests.prose import texts

from .parity import HiddenStates, check_family
from .seeded import SeededTensors, write_config

MEAN = EmbeddingHead(poolings=("mean",))
JINA: dict[str, Any] = {
    "architectures": ["JinaBertForMaskedLM"],
    "auto_map": {"AutoModel": "modeling_bert.JinaBertModel"},
    "position_embedding_type": "alibi",
    "feed_forward_type": "geglu",
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "hidden_size": 96,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
}


def save(folder: Path, config: dict[str, Any], num_labels: int = 0) -> None:
    """Replace a checkpoint's weights by seeded ones; with `num_labels`, add a classifier."""
    vocab_size, hidden, inner = write_config(folder, config), config["hidden_size"], config["intermediate_size"]
    tensors = SeededTensors(3)
    tensors.add("embeddings.word_embeddings.weight", vocab_size, hidden)
    tensors.add("embeddings.token_type_embeddings.weight", 2, hidden)
    tensors.add_norm("embeddings.LayerNorm", hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            tensors.add_linear(f"{at}.attention.{part}", hidden, hidden)
        tensors.add_norm(f"{at}.attention.output.LayerNorm", hidden)
        tensors.add_linear(f"{at}.mlp.gated_layers", 2 * inner, hidden, bias=False)
        tensors.add_linear(f"{at}.mlp.wo", hidden, inner)
        tensors.add_norm(f"{at}.mlp.layernorm", hidden)
    named = {f"bert.{name}": tensor for name, tensor in tensors.by_name.items()}
    if num_labels:
        classifier = SeededTensors(4)
        classifier.add_linear("bert.pooler.dense", hidden, hidden)
        classifier.add_linear("classifier", num_labels, hidden)
        named |= classifier.by_name
    save_file(named, folder / "model.safetensors")


def torch_model(folder: Path, slopes: list[float], dtype: torch.dtype) -> HiddenStates:
    """A model in `dtype` that returns hidden states, or logits of each token, or logits of the pooled first token.

    Each head's attention scores have -slope · |distance| added.
    """
    config = json.loads((folder / "config.json").read_text())
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    gate = {"geglu": functional.gelu, "reglu": functional.relu}[config["feed_forward_type"]]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        name = name if f"{name}.weight" in tensors else f"bert.{name}"
        return functional.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = tensors[f"bert.{name}.weight"], tensors[f"bert.{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, config["layer_norm_eps"])

    def hidden_states(token_ids: list[int], type_ids: list[int] | int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
        words, types = (tensors[f"bert.embeddings.{kind}_embeddings.weight"] for kind in ("word", "token_type"))
        x = norm("embeddings.LayerNorm", words[token_ids] + types[type_ids])
        positions = torch.arange(len(token_ids))
        distances = (positions[None] - positions[:, None]).abs()
        bias = torch.stack([-slope * distances for slope in slopes]).to(dtype)
        for layer in range(config["num_hidden_layers"]):
            at = f"encoder.layer.{layer}"
            query, key, value = (
                linear(f"{at}.attention.self.{part}", x).unflatten(1, (len(slopes), -1)).transpose(0, 1)
                for part in ("query", "key", "value")
            )
            scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5 + bias
            mixed = (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)
            x = norm(f"{at}.attention.output.LayerNorm", x + linear(f"{at}.attention.output.dense", mixed))
            gated, up = linear(f"{at}.mlp.gated_layers", x).chunk(2, dim=1)
            x = norm(f"{at}.mlp.layernorm", x + linear(f"{at}.mlp.wo", gate(gated) * up))
        if "ForSequenceClassification" in config["architectures"][0]:
            x = torch.tanh(linear("pooler.dense", x[:1]))
        if "classifier.weight" in tensors:
            x = linear("classifier", x)
        return np.asarray(x.float().numpy(), np.float32)

    return hidden_states


@pytest.mark.parametrize(
    ("config", "slopes"),
    [
        ({}, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
        (
            {"num_attention_heads": 8, "feed_forward_type": "reglu", "layer_norm_eps": 1e-3},
            [2.0**-i for i in range(1, 9)],
        ),
    ],
)
def test_hidden_states(
    config: dict[str, Any], slopes: list[float], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(hidden_size=96)
    save(checkpoint, JINA | config)
    references = [torch_model(checkpoint, slopes, dtype) for dtype in (torch.float32, torch.bfloat16)]
    check_family(checkpoint, tmp_path, reference=references[0], bf16_reference=references[1])


@pytest.mark.parametrize(
    ("end", "labels", "output"),
    [
        ("ForSequenceClassification", 1, "pooled"),
        ("ForSequenceClassification", 3, "pooled"),
        ("ForTokenClassification", 3, "labels"),
    ],
)
def test_classifiers(
    end: str, labels: int, output: Output, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(hidden_size=96)
    (checkpoint / "modules.json").unlink()
    names = {"id2label": {str(label): f"label {label}" for label in range(labels)}}
    save(checkpoint, JINA | names | {"architectures": [f"JinaBert{end}"]}, labels)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    queries, passages = texts(8, longest=20), texts(8, longest=90, seed=1)
    given = Tokenizer.open(engine_dir).encode_pairs(list(zip(queries, passages, strict=True)))
    reference = torch_model(checkpoint, list(jina_bert.slopes(6)), torch.float32)
    expected = np.concatenate([reference(one.token_ids.tolist(), np.asarray(one.type_ids).tolist()) for one in given])
    assert expected.std(axis=0).min() > 0.1, "texts must differ, or the comparison proves nothing"
    for backend in ("reference", "native"):
        found = np.asarray(load_engine(engine_dir, backend=backend).run(PackedBatch.pack(given), output))
        assert np.abs(found - expected).max() < 5e-4


def test_slopes() -> None:
    """The paper's example, and the 12 heads of the base models: the slopes for 8, then every other one for 16."""
    assert jina_bert.slopes(8) == tuple(2.0**-i for i in range(1, 9))
    assert jina_bert.slopes(12)[8:] == tuple(2.0**-i for i in (0.5, 1.5, 2.5, 3.5))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"position_embedding_type": "absolute"}, "position_embedding_type is 'absolute'; .* only 'alibi'"),
        ({"feed_forward_type": "original"}, "feed_forward_type is 'original'; supported: geglu, reglu"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        jina_bert.parse(JINA | config, MEAN)
