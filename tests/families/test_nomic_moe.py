"""Nomic BERT with experts against a PyTorch implementation in this file, because transformers' has no experts."""

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
from openbei.families import nomic_bert
from openbei.spec import MLP, EmbeddingHead, Experts
from tests.checkpoint import build_engine

from .parity import HiddenStates, check_family
from .seeded import SeededTensors, write_config

MEAN = EmbeddingHead(poolings=("mean",))
NOMIC: dict[str, Any] = {
    "architectures": ["NomicBertModel"],
    "model_type": "nomic_bert",
    "auto_map": {"AutoModel": "code.NomicBertModel"},
    "n_embd": 64,
    "n_layer": 4,
    "n_head": 4,
    "n_inner": 96,
    "n_positions": 128,
    "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu",
    "rotary_emb_base": 10000,
    "rotary_emb_fraction": 1.0,
    "prenorm": False,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "max_trained_positions": 2048,
    "causal": False,
    "type_vocab_size": 1,
    "num_experts": 8,
    "moe_top_k": 2,
    "moe_every_n_layers": 2,
    "moe_normalize_expert_weights": False,
    "expert_choice_router": False,
    "ffn_div": 1,
    "num_shared_experts": 0,
    "moe_impl": "megablocks",
    "qkv_proj_bias": True,
    "mlp_fc1_bias": True,
    "mlp_fc2_bias": True,
}
"""The repository's config.json with smaller sizes."""


def save(folder: Path, config: dict[str, Any]) -> None:
    """Replace a checkpoint's weights by seeded ones."""
    vocab_size = write_config(folder, config)
    hidden, inner, experts = config["n_embd"], config["n_inner"], config["num_experts"]
    tensors = SeededTensors(5)
    tensors.add("embeddings.word_embeddings.weight", vocab_size, hidden)
    tensors.add("embeddings.token_type_embeddings.weight", 1, hidden)
    tensors.add_norm("emb_ln", hidden)
    for layer in range(config["n_layer"]):
        at = f"encoder.layers.{layer}"
        tensors.add_linear(f"{at}.attn.Wqkv", 3 * hidden, hidden)
        tensors.add_linear(f"{at}.attn.out_proj", hidden, hidden)
        tensors.add_norm(f"{at}.norm1", hidden)
        tensors.add_norm(f"{at}.norm2", hidden)
        if layer % config["moe_every_n_layers"] == 1:
            tensors.add(f"{at}.mlp.router.layer.weight", experts, hidden)
            for name, width in (("w1", hidden), ("w2", inner)):
                tensors.add(f"{at}.mlp.experts.mlp.{name}", experts * inner, hidden, scale=1.5 * width**-0.5)
            tensors.add(f"{at}.mlp.experts.bias", hidden, scale=0.2)
        else:
            tensors.add_linear(f"{at}.mlp.fc1", inner, hidden)
            tensors.add_linear(f"{at}.mlp.fc2", hidden, inner)
    save_file(tensors.by_name, folder / "model.safetensors")


def torch_model(folder: Path, dtype: torch.dtype) -> HiddenStates:
    """A model in `dtype`. Every expert computes every token; experts that are not selected have weight zero."""
    config = json.loads((folder / "config.json").read_text())
    tensors = {name: tensor.to(dtype) for name, tensor in load_file(folder / "model.safetensors").items()}
    heads, count = config["n_head"], config["num_experts"]

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, config["layer_norm_epsilon"])

    def rope(x: torch.Tensor) -> torch.Tensor:
        """Multiply the halves of each head, as complex numbers, by e^(i · angle)."""
        half = x.shape[-1] // 2
        angles = torch.arange(x.shape[1])[:, None] * config["rotary_emb_base"] ** (-torch.arange(half) / half)
        rotated = torch.complex(*x.float().split(half, dim=-1)) * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([rotated.real, rotated.imag], dim=-1).to(x.dtype)

    def attend(at: str, x: torch.Tensor) -> torch.Tensor:
        query, key, value = linear(f"{at}.Wqkv", x).unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3)
        scores = rope(query) @ rope(key).transpose(1, 2) / query.shape[-1] ** 0.5
        return linear(f"{at}.out_proj", (scores.softmax(-1) @ value).transpose(0, 1).flatten(1))

    def experts(at: str, x: torch.Tensor) -> torch.Tensor:
        probabilities = (x @ tensors[f"{at}.router.layer.weight"].T).float().softmax(-1)
        smallest = probabilities.topk(config["moe_top_k"]).values[:, -1:]
        weights = probabilities.where(probabilities >= smallest, 0)
        if config["moe_normalize_expert_weights"]:
            weights = weights / weights.sum(-1, keepdim=True)
        ups, downs = (tensors[f"{at}.experts.mlp.{name}"].unflatten(0, (count, -1)) for name in ("w1", "w2"))
        outputs = functional.gelu(torch.einsum("th,eih->tei", x, ups))
        return torch.einsum("tei,eih,te->th", outputs, downs, weights.to(x.dtype)) + tensors[f"{at}.experts.bias"]

    def hidden_states(token_ids: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
        words, types = (tensors[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "token_type"))
        x = norm("emb_ln", words[token_ids] + types[0])
        for layer in range(config["n_layer"]):
            at = f"encoder.layers.{layer}"
            x = norm(f"{at}.norm1", x + attend(f"{at}.attn", x))
            if f"{at}.mlp.experts.bias" in tensors:
                x = norm(f"{at}.norm2", x + experts(f"{at}.mlp", x))
            else:
                x = norm(f"{at}.norm2", x + linear(f"{at}.mlp.fc2", functional.gelu(linear(f"{at}.mlp.fc1", x))))
        return np.asarray(x.float().numpy(), np.float32)

    return hidden_states


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"num_experts": 2, "moe_top_k": 1, "n_inner": 50},
        {
            "num_experts": 4,
            "moe_top_k": 2,
            "moe_normalize_expert_weights": True,
            "n_embd": 36,
            "n_head": 3,
            "n_inner": 33,
            "n_layer": 3,
        },
        {"num_experts": 3, "moe_top_k": 3, "moe_every_n_layers": 3, "n_layer": 5},
    ],
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    config = NOMIC | config
    checkpoint = make_checkpoint(hidden_size=config["n_embd"])
    save(checkpoint, config)
    references = [torch_model(checkpoint, dtype) for dtype in (torch.float32, torch.bfloat16)]
    engine_dir = check_family(checkpoint, tmp_path, reference=references[0], bf16_reference=references[1])
    assert engine_dir.manifest.spec.mlp == MLP(intermediate_size=config["n_inner"], activation="gelu")


def test_the_published_config() -> None:
    published = {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": 3072, "n_positions": 2048, "vocab_size": 250048}
    spec = nomic_bert.parse(NOMIC | published, MEAN)
    assert spec.experts == Experts(count=8, top_k=2, layers=(1, 3, 5, 7, 9, 11))
    assert spec.positions.max_positions == 2048


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("encoder.layers.1.mlp.experts.mlp.w1"), "no tensor encoder.layers.1.mlp.experts.mlp.w1$"),
        (lambda w: w.pop("encoder.layers.0.attn.out_proj.bias"), "no tensor encoder.layers.0.attn.out_proj.bias$"),
        (lambda w: w.pop("encoder.layers.0.mlp.fc1.bias"), "no tensor encoder.layers.0.mlp.fc11.bias$"),
        (lambda w: w.update({"encoder.layers.0.mlp.experts.bias": torch.zeros(64)}), "no place for: .*layers.0.mlp"),
        (lambda w: w.update({"encoder.layers.1.mlp.fc1.weight": torch.zeros(96, 64)}), "no place for: .*layers.1.mlp"),
        (
            lambda w: w.update({"encoder.layers.1.mlp.experts.mlp.w2": torch.zeros(8 * 64, 96)}),
            r"mlp.w2 has the shape \[512, 96\]; config.json says \[768, 64\]",
        ),
    ],
)
def test_refuses_tensors(
    change: Callable[[dict[str, torch.Tensor]], object],
    message: str,
    make_checkpoint: Callable[..., Path],
    tmp_path: Path,
) -> None:
    checkpoint = make_checkpoint()
    save(checkpoint, NOMIC)
    weights = load_file(checkpoint / "model.safetensors")
    change(weights)
    save_file(weights, checkpoint / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        build_engine(checkpoint, tmp_path / "engine")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"moe_top_k": 9}, "moe_top_k is 9; it must be at most 8"),
        ({"moe_top_k": 0}, "moe_top_k"),
        ({"num_shared_experts": 1}, "num_shared_experts is 1; the family nomic_bert supports only 0"),
        ({"expert_choice_router": True}, "expert_choice_router is True"),
        ({"moe_normalize_expert_weights": 2}, "moe_normalize_expert_weights"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        nomic_bert.parse(NOMIC | config, MEAN)
