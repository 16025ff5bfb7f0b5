"""Chains of sentence-transformers modules after a small BERT, saved and evaluated by sentence-transformers."""

from pathlib import Path
from typing import Any

import numpy as np

from openbei.backends import load_engine
from openbei.batch import Vectors
from openbei.engine_dir import EngineDir
from openbei.open_model import OpenModel
from tests.prose import texts

TEXTS = [*texts(14, longest=150), "a", "of the same length as another", "or of the same length as it"]


def transformer(checkpoint: Path) -> Any:
    """A Transformer module that loads the checkpoint."""
    from sentence_transformers.sentence_transformer.modules import Transformer

    return Transformer(str(checkpoint), max_seq_length=128)


def randomize(module: Any, seed: int = 0) -> Any:
    """Give a module seeded weights, norms and biases, with enough variance to make texts differ."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            spread = 0.5 if parameter.ndim == 1 else 1.5 * parameter.shape[-1] ** -0.5
            parameter.normal_(1.0 if name == "norm.weight" else 0.0, spread)
    return module


def save(folder: Path, modules: list[Any], **options: Any) -> Any:
    """Save a SentenceTransformer with the modules, and load it again."""
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(modules=modules, device="cpu", **options).save_pretrained(str(folder), create_model_card=False)
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def embed(
    engine_dir: EngineDir, given: list[str], *, backend: str = "native", prompt_name: str | None = None
) -> Vectors:
    """Embeddings of texts by the engine, float32 [n, D]."""
    model = OpenModel(engine_dir, load_engine(engine_dir, backend=backend))
    return model.embed(given, prompt_name=prompt_name)


def encode_each(model: Any, given: list[str], **how: Any) -> Vectors:
    """Embeddings by sentence-transformers, one text at a time to avoid padding, float32 [n, D]."""
    return np.asarray(model.encode(given, batch_size=1, **how), np.float32)
