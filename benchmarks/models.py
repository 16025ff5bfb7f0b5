"""How fast models of real sizes are, with seeded random weights, against transformers in bfloat16: ids in, states out.

The peer runs batches of like lengths, padded, as one would by hand; both get the same ids and the same threads.
"""

import os
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbei.backends import load_engine
from openbei.batch import Engine, PackedBatch, Sequence
from openbei.build import build
from openbei.config import Environment, deployment_for_model
from openbei.embedder import BATCHES_AT_ONCE, batches

from .results import Row, interleaved, ratio, report
from .setting import Setting

NUM_TEXTS = 48
ROUNDS = 3
PEER_BATCH = 8

SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-base": ("BertModel", {}),
    "roberta-base": ("RobertaModel", {"max_position_embeddings": 514, "type_vocab_size": 1}),
    "ModernBERT-base": ("ModernBertModel", {}),
    "Qwen3-0.6B": ("Qwen3Model", {
        "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
        "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
    }),
}  # fmt: skip
"""Architecture, and what is not its default."""

Ids = list[NDArray[np.int32]]


def checkpoint_of(setting: Setting, name: str) -> Path:
    """A random model of that shape, in bfloat16, with mean pooling and a tokenizer whose ids it has."""
    import json

    import torch
    import transformers

    architecture, changes = SHAPES[name]
    folder = setting.folder / name
    torch.manual_seed(0)
    model_class = getattr(transformers, architecture)
    config = model_class.config_class(**changes)
    model_class(config).to(torch.bfloat16).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(setting.checkpoint).save_pretrained(folder)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    chain = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(chain))
    return folder


def random_ids(count: int) -> Ids:
    """Lengths as those of mixed texts: 10 to 300 tokens, 90 in the mean."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(4.28, 0.7, count).clip(10, 300).astype(int)
    return [rng.integers(1000, 20000, n).astype(np.int32) for n in lengths]


def run_engine(engine: Engine, ids: Ids) -> None:
    """All sequences through our engine, pooled."""
    sequences = [Sequence(one, len(one)) for one in ids]
    for indices in batches(sequences, BATCHES_AT_ONCE * engine.batch_tokens):
        engine.run(PackedBatch.pack([sequences[i] for i in indices]))


def run_peer(model: Any, ids: Ids) -> None:  # noqa: ANN401
    """The same through transformers, the longest first."""
    import torch

    ordered = sorted(ids, key=len, reverse=True)
    with torch.inference_mode():
        for start in range(0, len(ordered), PEER_BATCH):
            part = ordered[start : start + PEER_BATCH]
            padded = np.zeros((len(part), len(part[0])), np.int64)
            mask = np.zeros_like(padded)
            for row, one in enumerate(part):
                padded[row, : len(one)] = one
                mask[row, : len(one)] = 1
            model(input_ids=torch.from_numpy(padded), attention_mask=torch.from_numpy(mask))


def run(setting: Setting) -> list[Row]:
    """Ratios of medians, interleaved, for each shape."""
    import torch
    import transformers

    torch.set_num_threads(setting.threads)
    ids = random_ids(setting.count(NUM_TEXTS))
    rows, measured = [], {}
    for name in SHAPES:
        checkpoint = checkpoint_of(setting, name)
        deployment = deployment_for_model(str(checkpoint))
        engine_dir = build(deployment, checkpoint / "engine", environment=Environment.read(os.environ))
        engine = load_engine(engine_dir, threads=setting.threads)
        model = transformers.AutoModel.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
        times = interleaved(
            {"openbei": partial(run_engine, engine, ids), "transformers": partial(run_peer, model, ids)},
            setting.count(ROUNDS),
        )
        measured[name] = {who: round(sum(map(len, ids)) / statistics.median(s)) for who, s in times.items()}
        faster = ratio(times["transformers"], times["openbei"])
        rows.append(Row(f"{name} shape, mixed, × transformers bfloat16", faster, limit=1.5))
    report("models", setting.about(), {"tokens_per_s": measured}, rows)
    return rows
