"""GTE encoders against transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from safetensors.numpy import load_file, save_file

from openbei.errors import CheckpointError
from openbei.families import gte
from openbei.spec import EmbeddingHead

from .parity import check_family, transformers_model

MEAN = EmbeddingHead(poolings=("mean",))


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "gelu"},
        {
            "num_attention_heads": 2,
            "num_hidden_layers": 3,
            "type_vocab_size": 0,
            "layer_norm_eps": 1e-3,
            "rope_parameters": {"rope_type": "linear", "rope_theta": 20.0, "factor": 2.0},
        },
    ],
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    check_family(make_checkpoint(architecture="GteModel", **config), tmp_path)


def test_a_repository_with_code(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Tensor names have another prefix, the code is never run, and rope_scaling is of type ntk.

    transformers has no such type, but linear scaling with another theta and factor gives the same frequencies.
    """
    theta, factor, dim = 50.0, 4.0, 16
    checkpoint = make_checkpoint(
        architecture="GteModel",
        seed=4,
        rope_parameters={"rope_type": "linear", "rope_theta": theta * factor, "factor": factor ** (2 / dim)},
    )
    references = [transformers_model(checkpoint, dtype=dtype) for dtype in ("float32", "bfloat16")]
    config = json.loads((checkpoint / "config.json").read_text())
    del config["rope_parameters"]
    config |= {
        "architectures": ["NewModel"],
        "auto_map": {"AutoModel": "modeling.NewModel"},
        "model_type": "new",
        "rope_theta": theta,
        "rope_scaling": {"type": "ntk", "factor": factor},
        "position_embedding_type": "rope",
        "layer_norm_type": "layer_norm",
        "logn_attention_scale": False,
        "pack_qkv": True,
    }
    (checkpoint / "config.json").write_text(json.dumps(config))
    tensors = {f"new.{name}": tensor for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    save_file(tensors, checkpoint / "model.safetensors")
    check_family(checkpoint, tmp_path, reference=references[0], bf16_reference=references[1])


def test_defaults_are_those_of_transformers() -> None:
    assert gte.parse(transformers.GteConfig().to_dict(), MEAN) == gte.parse({}, MEAN)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"position_embedding_type": "absolute"},
            "position_embedding_type is 'absolute'; the family gte supports only",
        ),
        ({"layer_norm_type": "rms_norm"}, "layer_norm_type is 'rms_norm'"),
        ({"logn_attention_scale": True}, "logn_attention_scale is True"),
        ({"rope_theta": 10.0, "rope_scaling": {"type": "ntk", "factor": 8.0, "mixed_b": 0.5}}, "mixed_b"),
        ({"rope_scaling": {"type": "longrope", "factor": 8.0}}, "rope type is 'longrope'"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        gte.parse(config, MEAN)
