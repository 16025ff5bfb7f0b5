"""JinaBERT with QK-norm against a PyTorch implementation in this file, because transformers has none."""

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
from openbei.families import find_family, jina_bert, jina_code

from .parity import HiddenStates, check_family
from .seeded import write_config
from .test_jina_bert import JINA, MEAN

CODE = "jinaai/jina-bert-v2-qk-post-norm"
AUTO_MAP = {"auto_map": {"AutoModel": f"{CODE}--modeling_bert.JinaBertModel"}}
NORMS = (
    "attention.self.layer_norm_q",
    "attention.self.layer_norm_k",
    "attention.output.LayerNorm",
    "layer_norm_1",
    "layer_norm_2",
)


def save(folder: Path, config: dict[str, Any]) -> None:
    """Replace a checkpoint's weights by seeded ones."""
    vocab_size = write_config(folder, config)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    random = torch.Generator().manual_seed(5)

    def normal(*shape: int, around: float = 0.0, scale: float = 0.4) -> torch.Tensor:
        return around + torch.randn(*shape, generator=random) * scale

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return normal(rows, columns, scale=1.5 * columns**-0.5)

    tensors = {
        f"embeddings.{kind}_embeddings.weight": normal(n, hidden, scale=1.0)
        for kind, n in (("word", vocab_size), ("token_type", 2))
    }
    norms = ["embeddings.LayerNorm"]
    for at in (f"encoder.layer.{layer}" for layer in range(config["num_hidden_layers"])):
        norms += [f"{at}.{norm}" for norm in NORMS]
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            tensors[f"{at}.attention.{part}.weight"] = matrix(hidden, hidden)
            tensors[f"{at}.attention.{part}.bias"] = normal(hidden)
        tensors[f"{at}.mlp.up_gated_layer.weight"] = matrix(2 * inner, hidden)
        tensors[f"{at}.mlp.down_layer.weight"] = matrix(hidden, inner)
        tensors[f"{at}.mlp.down_layer.bias"] = normal(hidden)
    tensors |= {f"{name}.weight": normal(hidden, around=1.0) for name in norms}
    tensors |= {f"{name}.bias": normal(hidden) for name in norms}
    save_file(tensors, folder / "model.safetensors")


def torch_model(folder: Path, dtype: torch.dtype) -> HiddenStates:
    """A model in `dtype`. Queries and keys are normalized over all heads; a layer's input is added twice."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    gate = {"geglu": functional.gelu, "reglu": functional.relu}[config["feed_forward_type"]]
    num_heads = config["num_attention_heads"]
    slopes = torch.tensor(jina_bert.slopes(num_heads), dtype=dtype)[:, None, None]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, config["layer_norm_eps"])

    def attend(at: str, x: torch.Tensor) -> torch.Tensor:
        query = norm(f"{at}.layer_norm_q", linear(f"{at}.query", x))
        key = norm(f"{at}.layer_norm_k", linear(f"{at}.key", x))
        query, key, value = (
            part.unflatten(1, (num_heads, -1)).transpose(0, 1) for part in (query, key, linear(f"{at}.value", x))
        )
        places = torch.arange(len(x))
        bias = -slopes * (places[None] - places[:, None]).abs().to(dtype)
        return functional.scaled_dot_product_attention(query, key, value, bias).transpose(0, 1).flatten(1)

    def hidden_states(token_ids: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        words, types = (tensors[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "token_type"))
        x = norm("embeddings.LayerNorm", words[token_ids] + types[0])
        for layer in range(config["num_hidden_layers"]):
            at = f"encoder.layer.{layer}"
            attended = linear(f"{at}.attention.output.dense", attend(f"{at}.attention.self", x))
            x = norm(f"{at}.layer_norm_1", x + norm(f"{at}.attention.output.LayerNorm", x + attended))
            up, gated = linear(f"{at}.mlp.up_gated_layer", x).chunk(2, dim=1)
            x = norm(f"{at}.layer_norm_2", x + linear(f"{at}.mlp.down_layer", up * gate(gated)))
        return np.asarray(x.float().numpy(), np.float32)

    return hidden_states


@pytest.mark.parametrize(
    "config",
    [
        AUTO_MAP,
        {"_name_or_path": CODE, "num_attention_heads": 8, "feed_forward_type": "reglu", "layer_norm_eps": 1e-3},
        AUTO_MAP | {"hidden_size": 84, "num_hidden_layers": 3, "intermediate_size": 53},
    ],
    ids=["geglu", "reglu", "odd widths"],
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    config = JINA | config
    checkpoint = make_checkpoint(hidden_size=config["hidden_size"])
    save(checkpoint, config)
    references = [torch_model(checkpoint, dtype) for dtype in (torch.float32, torch.bfloat16)]
    spec = check_family(checkpoint, tmp_path, reference=references[0], bf16_reference=references[1]).manifest.spec
    assert spec.family == "jina_code"


def test_published_config() -> None:
    """Sizes of jina-embeddings-v2-base-code."""
    config = JINA | {
        "vocab_size": 61056,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 8192,
    }
    spec = jina_code.parse(config, MEAN)
    assert (spec.positions.max_positions, spec.attention.head_dim, spec.mlp.activation) == (8192, 64, "gelu")
    assert spec.attention.norm == spec.norm


@pytest.mark.parametrize("config", [AUTO_MAP, {"_name_or_path": CODE}])
def test_the_code_repository_selects_the_family(config: dict[str, Any]) -> None:
    assert find_family("JinaBertForMaskedLM", config)[0] is jina_code
    assert find_family("JinaBertForMaskedLM", {"_name_or_path": "jinaai/jina-bert-implementation"})[0] is jina_bert
    with pytest.raises(CheckpointError, match="unsupported architecture 'JinaBertForQuestionAnswering'"):
        find_family("JinaBertForQuestionAnswering", config)
