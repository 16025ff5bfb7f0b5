"""JinaBERT v2 against a model that is written here from the papers: no library without remote code has one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from openbei.errors import CheckpointError
from openbei.families import jina_bert
from openbei.spec import EmbeddingHead

from .parity import Judge, check_family

MEAN = EmbeddingHead(poolings=("mean",))
JINA: dict[str, Any] = {
    "architectures": ["JinaBertForMaskedLM"], "auto_map": {"AutoModel": "modeling_bert.JinaBertModel"},
    "position_embedding_type": "alibi", "feed_forward_type": "geglu", "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    "hidden_size": 96, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 6,
    "max_position_embeddings": 128, "type_vocab_size": 2,
}  # fmt: skip


def save(folder: Path, config: dict[str, Any]) -> None:
    """Seeded weights by the names of the repositories, over a checkpoint's."""
    vocab_size = json.loads((folder / "config.json").read_text())["vocab_size"]
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": vocab_size}))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    random = torch.Generator().manual_seed(3)
    tensors: dict[str, torch.Tensor] = {}

    def linear(name: str, rows: int, columns: int, *, bias: bool = True) -> None:
        tensors[f"{name}.weight"] = torch.randn(rows, columns, generator=random) * 1.5 * columns**-0.5
        if bias:
            tensors[f"{name}.bias"] = torch.randn(rows, generator=random) * 0.2

    def norm(name: str) -> None:
        tensors[f"{name}.weight"] = 1 + torch.randn(hidden, generator=random) * 0.2
        tensors[f"{name}.bias"] = torch.randn(hidden, generator=random) * 0.2

    tensors["embeddings.word_embeddings.weight"] = torch.randn(vocab_size, hidden, generator=random)
    tensors["embeddings.token_type_embeddings.weight"] = torch.randn(2, hidden, generator=random)
    norm("embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{at}.attention.{part}", hidden, hidden)
        norm(f"{at}.attention.output.LayerNorm")
        linear(f"{at}.mlp.gated_layers", 2 * inner, hidden, bias=False)
        linear(f"{at}.mlp.wo", hidden, inner)
        norm(f"{at}.mlp.layernorm")
    save_file({f"bert.{name}": tensor for name, tensor in tensors.items()}, folder / "model.safetensors")


def judge_of(folder: Path, slopes: list[float], dtype: torch.dtype) -> Judge:
    """Hidden states in `dtype`; attention with -slope · |distance| added to scores, for each head."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    gate = {"geglu": functional.gelu, "reglu": functional.relu}[config["feed_forward_type"]]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, tensors[f"bert.{name}.weight"], tensors.get(f"bert.{name}.bias"))

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = tensors[f"bert.{name}.weight"], tensors[f"bert.{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, config["layer_norm_eps"])

    def judge(token_ids: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        words, types = (tensors[f"bert.embeddings.{kind}_embeddings.weight"] for kind in ("word", "token_type"))
        x = norm("embeddings.LayerNorm", words[token_ids] + types[0])
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
        return np.asarray(x.float().numpy(), np.float32)

    return judge


@pytest.mark.parametrize(
    ("config", "slopes"),
    [
        ({}, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
        ({"num_attention_heads": 8, "feed_forward_type": "reglu", "layer_norm_eps": 1e-3},
         [2.0**-i for i in range(1, 9)]),
    ],
)  # fmt: skip
def test_hidden_states(
    config: dict[str, Any], slopes: list[float], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(hidden_size=96)
    save(checkpoint, JINA | config)
    judges = [judge_of(checkpoint, slopes, dtype) for dtype in (torch.float32, torch.bfloat16)]
    check_family(checkpoint, tmp_path, judge=judges[0], bf16_judge=judges[1])


def test_slopes() -> None:
    """Those of the paper's examples, and of the 12 heads of the base models: 8, then every other one of 16."""
    assert jina_bert.slopes(8) == tuple(2.0**-i for i in range(1, 9))
    assert jina_bert.slopes(12)[8:] == tuple(2.0**-i for i in (0.5, 1.5, 2.5, 3.5))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"position_embedding_type": "absolute"}, "position_embedding_type is 'absolute'; .* only 'alibi'"),
        ({"feed_forward_type": "original"}, "feed_forward_type is 'original'; implemented are: geglu, reglu"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        jina_bert.parse(JINA | config, MEAN)
