"""Every family at a real model's size, with seeded random weights: is it right, and how fast against the peers.

Right: hidden states against transformers in float32. Fast: ids in, pooled vectors out, against transformers in bfloat16
and, where a threshold stands, OpenVINO. The peers run batches of like lengths, padded, as one would by hand; all get
the same ids and the same threads.
"""

import gc
import json
import os
import shutil
import statistics
from dataclasses import dataclass
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
from openbei.engine_dir import EngineDir
from openbei.families import ARCHITECTURES, FAMILIES, find_family
from openbei.shapes import num_parameters
from openbei.spec import DType
from tests.families.parity import error, transformers_judge
from tests.same_embedding import worst_cosine

from .judges import converted, fastest_openvino, openvino_candidates, pad
from .results import Row, interleaved, ratio, report
from .setting import Setting
from .shapes import SHAPES, Shape

NUM_TEXTS = 40
ROUNDS = 3
PEER_BATCH = 8
PAGE = "models.md"
JUDGED_LENGTHS = (1, 17, 64, 200)

TASKS = {
    "embedding": "embed", "sequence_labels": "rerank, classify", "token_labels": "named entities",
    "term_weights": "SPLADE",
}  # fmt: skip

Ids = list[NDArray[np.int32]]


@dataclass(frozen=True)
class Measured:
    """One model: hidden states' worst `cosine` in float32, and `error` in bfloat16 as a share of the peer's."""

    shape: Shape
    parameters: int
    cosine: float
    error: float
    tokens_per_s: dict[str, int]
    ratios: dict[str, float]


def checkpoint_of(setting: Setting, shape: Shape) -> Path:
    """A random model of that shape, in bfloat16, with mean pooling and a tokenizer whose ids it has."""
    import torch
    import transformers

    folder = setting.folder / shape.model
    torch.manual_seed(0)
    model_class = getattr(transformers, shape.architecture)
    model = model_class(model_class.config_class(**shape.changes)).to(torch.bfloat16)
    with torch.no_grad():  # enough variance that texts differ
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 1.0 if "embed" in name else 1.5 * parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
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


def run_transformers(model: Any, ids: Ids) -> None:  # noqa: ANN401
    """The same through transformers, the longest first."""
    import torch

    ordered = sorted(ids, key=len, reverse=True)
    with torch.inference_mode():
        for start in range(0, len(ordered), PEER_BATCH):
            padded, mask = pad(ordered[start : start + PEER_BATCH])
            model(input_ids=torch.from_numpy(padded), attention_mask=torch.from_numpy(mask))


def build_at(checkpoint: Path, dtype: DType) -> EngineDir:
    """The engine directory in a dtype."""
    from msgspec.structs import replace

    deployment = replace(deployment_for_model(str(checkpoint)), dtype=dtype)
    return build(deployment, checkpoint / dtype, environment=Environment.read(os.environ))


def judge(checkpoint: Path, threads: int) -> tuple[float, float]:
    """The worst cosine in float32, and the error in bfloat16 as a share of transformers' own, over hidden states."""
    rng = np.random.default_rng(1)
    given = [rng.integers(1000, 20000, n).astype(np.int32) for n in JUDGED_LENGTHS]
    batch = PackedBatch.pack([Sequence(ids, len(ids)) for ids in given])
    states: dict[str, Any] = {}
    dtypes: tuple[DType, ...] = ("float32", "bfloat16")
    for dtype in dtypes:
        engine = load_engine(build_at(checkpoint, dtype), threads=threads)
        states[f"our {dtype}"] = np.asarray(engine.run(batch, "tokens"))
        peer = transformers_judge(checkpoint, dtype=dtype)
        states[dtype] = np.concatenate([peer(ids.tolist()) for ids in given])
    truth = states["float32"]
    share = error(states["our bfloat16"], truth) / error(states["bfloat16"], truth)
    return worst_cosine(states["our float32"], truth), share


def measure(setting: Setting, shape: Shape) -> Measured:
    """One shape, from checkpoint to ratios; nothing of it stays on the disk."""
    import torch
    import transformers

    checkpoint = checkpoint_of(setting, shape)
    cosine, share = judge(checkpoint, setting.threads)
    engine_dir = build_at(checkpoint, "bfloat16")
    ids = random_ids(setting.count(NUM_TEXTS))
    model = transformers.AutoModel.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
    contenders = {
        "openbei": partial(run_engine, load_engine(engine_dir, threads=setting.threads), ids),
        "transformers bf16": partial(run_transformers, model, ids),
    }
    if shape.limit is not None:
        candidates = openvino_candidates(converted(checkpoint), list, setting.threads, (8, 16))
        _, openvino = fastest_openvino(candidates, ids[::4])
        contenders["OpenVINO bf16"] = partial(openvino, ids)
    times = interleaved(contenders, setting.count(ROUNDS))
    speed = {who: round(sum(map(len, ids)) / statistics.median(seconds)) for who, seconds in times.items()}
    ratios = {who: ratio(seconds, times["openbei"]) for who, seconds in times.items() if who != "openbei"}
    parameters = num_parameters(engine_dir.manifest.spec)
    shutil.rmtree(checkpoint)
    for left in setting.folder.glob(f"{shape.model}.openvino.*"):
        left.unlink()
    gc.collect()
    return Measured(shape, parameters, cosine, share, speed, ratios)


def run(setting: Setting) -> list[Row]:
    """Every shape; the table of docs/models.md stays in the folder."""
    import torch

    torch.set_num_threads(setting.threads)
    found, rows = [], []
    for shape in SHAPES:
        found.append(one := measure(setting, shape))
        report_one = {"model": shape.model, "tokens_per_s": one.tokens_per_s, "cosine": one.cosine, "error": one.error}
        about = {f"{shape.model} shape, mixed, × {who}": value for who, value in one.ratios.items()}
        kept = [Row(what, value, limit=shape.limit) for what, value in about.items()]
        report("models", setting.about(), report_one, kept)
        rows += kept if shape.limit else []
    (setting.folder / PAGE).write_text(page(found))
    return rows


def page_of(setting: Setting) -> str:
    """The table that `run` left."""
    return (setting.folder / PAGE).read_text()


def page(found: list[Measured]) -> str:
    """Markdown: one row for each model, the families in the order of FAMILIES."""
    order = list(FAMILIES)
    head = (
        "architectures", "tasks", "shape measured", "parameters", "1 - worst cosine, float32",
        "bf16 error, share of transformers'", "× transformers bf16", "× OpenVINO bf16", "tokens/s",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    lines += [cells(one) for one in sorted(found, key=lambda one: order.index(one.shape.beginning))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(one: Measured) -> tuple[str, ...]:
    """One row."""
    shape = one.shape
    family, _ = find_family(shape.architecture)
    kinds = {kind for ends in ARCHITECTURES.values() for kind in ends} & set(family.HEADS)
    layers = f", {shape.changes['num_hidden_layers']} of {shape.of_layers} layers" if shape.of_layers else ""
    openvino = one.ratios.get("OpenVINO bf16")
    return (
        ", ".join([shape.beginning, *shape.also]),
        ", ".join(words for kind, words in TASKS.items() if kind in kinds),
        shape.model + layers,
        f"{one.parameters / 1e6:,.0f} M",
        f"{max(1 - one.cosine, 0):.0e}",
        f"{one.error:.2f}",
        f"{one.ratios['transformers bf16']:.2f}",
        "" if openvino is None else f"{openvino:.2f}",
        f"{one.tokens_per_s['openbei']:,}",
    )
