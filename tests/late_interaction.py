"""Small ColBERT checkpoints with seeded weights in each of the published layouts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tests.checkpoint import TINY, save_model, update_json, write_chain, write_json

DIMENSIONS = 24
PYLATE = {
    "model_type": "ColBERT",
    "prompts": {"query": "", "document": ""},
    "similarity_fn_name": "MaxSim",
    "query_prefix": "[Q] ",
    "document_prefix": "[D] ",
    "query_length": 16,
    "document_length": 40,
    "attend_to_expansion_tokens": False,
    "skiplist_words": [",", ".", "!", "?", "~~"],
    "do_query_expansion": True,
}
"""config_sentence_transformers.json; the last word of the skip list is not in the vocabulary."""

METADATA = {"query_token_id": "[Q]", "doc_token_id": "[D]", "query_maxlen": 16, "doc_maxlen": 40, "dim": DIMENSIONS}
"""artifact.metadata."""


def save_base(folder: Path, tokenizer_json: Path, markers: tuple[str, str], architecture: str, **config: Any) -> Path:
    """A transformers model whose tokenizer has two markers and a mask token."""
    folder.mkdir(parents=True)
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.add_tokens([*markers])
    tokenizer.save(str(folder / "marked.json"))
    save_model(folder, folder / "marked.json", architecture, **config)
    (folder / "marked.json").unlink()
    mask = next(token for token in ("[MASK]", "<mask>") if tokenizer.token_to_id(token) is not None)
    update_json(folder / "tokenizer_config.json", mask_token=mask)
    return folder


def projection(width: int = TINY["hidden_size"], out: int = DIMENSIONS, seed: int = 5) -> np.ndarray[Any, Any]:
    return (np.random.default_rng(seed).standard_normal((out, width)) * width**-0.5).astype(np.float32)


def save_pylate(folder: Path, tokenizer_json: Path, architecture: str = "BertModel", **settings: Any) -> Path:
    """PyLate's layout: a Transformer, then a Dense for each token."""
    from safetensors.numpy import save_file

    config = {key: settings.pop(key) for key in [*settings] if key not in PYLATE}
    save_base(folder, tokenizer_json, ("[Q] ", "[D] "), architecture, **config)
    write_chain(folder, [("", "Transformer"), ("1_Dense", "Dense")])
    chain = json.loads((folder / "modules.json").read_text())
    chain[1]["type"] = "pylate.models.Dense.Dense"
    write_json(folder / "modules.json", chain)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 39, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", PYLATE | settings)
    dense = {"in_features": TINY["hidden_size"], "out_features": DIMENSIONS, "bias": False}
    activation = {"activation_function": "torch.nn.modules.linear.Identity", "use_residual": False}
    write_json(folder / "1_Dense/config.json", dense | activation)
    save_file({"linear.weight": projection()}, folder / "1_Dense/model.safetensors")
    return folder


def save_stanford(
    folder: Path, tokenizer_json: Path, architecture: str = "BertModel", prefix: str = "bert", **metadata: Any
) -> Path:
    """The layout of Stanford's ColBERT: the architecture HF_ColBERT, with the projection among its tensors."""
    from safetensors.numpy import load_file, save_file

    save_base(folder, tokenizer_json, ("[Q]", "[D]"), architecture)
    tensors = {f"{prefix}.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file({**tensors, "linear.weight": projection()}, folder / "model.safetensors", {"format": "pt"})
    update_json(folder / "config.json", architectures=["HF_ColBERT"])
    write_json(folder / "artifact.metadata", METADATA | metadata)
    return folder


def save_multi_vector(folder: Path, tokenizer_json: Path, *, skipped: list[str], **settings: Any) -> Path:
    """The layout of sentence-transformers' MultiVectorEncoder, with prompts instead of markers."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    base = save_base(folder / "base", tokenizer_json, ("[Q]", "[D]"), "BertModel")
    import torch

    dense = Dense(TINY["hidden_size"], DIMENSIONS, False, torch.nn.Identity(), module_input_name="token_embeddings")
    with torch.no_grad():
        dense.linear.weight.copy_(torch.from_numpy(projection()))
    modules = [
        Transformer(str(base), **settings),
        dense,
        MultiVectorMask(skipped),
        Normalize(module_input_name="token_embeddings"),
    ]
    model = MultiVectorEncoder(modules=modules, device="cpu", prompts={"query": "[Q]", "document": "[D]"})
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def expected(checkpoint: Path, texts: list[str], *, is_query: bool) -> list[np.ndarray[Any, Any]]:
    """The vectors of each text by sentence-transformers, one text at a time to avoid padding."""
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(checkpoint), device="cpu", local_files_only=True)
    encode = model.encode_query if is_query else model.encode_document
    return [np.asarray(encode(text, convert_to_numpy=True)) for text in texts]
