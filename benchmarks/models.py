"""Accuracy and speed of every family at a real model's size, with seeded random weights.

Accuracy compares hidden states with transformers in float32. Speed is measured from token ids to pooled vectors,
against transformers in bfloat16 and, for shapes with a target, OpenVINO. The peers run padded batches of similar
lengths. All engines get the same ids and the same number of threads.
"""

import shutil
import statistics
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbei.backends import load_engine
from openbei.batch import Engine, PackedBatch, Sequence
from openbei.build.modules import POOLINGS
from openbei.cli.bench import mixed_lengths
from openbei.families import find_family
from openbei.serving.in_process import BATCHES_AT_ONCE, batches
from openbei.shapes import num_parameters
from openbei.spec import DType, EmbeddingHead, ModelSpec
from tests.checkpoint import build_engine, write_chain, write_json
from tests.families.parity import relative_error, transformers_model
from tests.random_engine import random_engine_dir
from tests.same_embedding import worst_direction

from .models_page import ModelResult, page
from .peers import converted, fastest_openvino, openvino_candidates, pad
from .results import Row, interleaved, ratio, report
from .setting import Setting
from .shapes import SHAPES, Shape

NUM_TEXTS = 40
ROUNDS, ROUNDS_FOR_A_LIMIT = 3, 9
PEER_BATCH = 8
PAGE = "models.md"
CHECKED_LENGTHS = (1, 17, 64, 200)

Ids = list[NDArray[np.int32]]


def checkpoint_of(setting: Setting, shape: Shape) -> Path:
    """Save a random bfloat16 model of a shape, with its pooling and a tokenizer that fits its vocabulary."""
    import torch
    import transformers

    folder = setting.folder / shape.model
    torch.manual_seed(0)
    model_class = getattr(transformers, shape.architecture)
    model = model_class(model_class.config_class(**shape.config)).to(torch.bfloat16)
    with torch.no_grad():  # enough variance to tell texts apart
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 1.0 if "embed" in name else 1.5 * parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(setting.checkpoint).save_pretrained(folder)
    mode = next(mode for mode, pooling in POOLINGS.items() if pooling == shape.pooling)
    write_json(folder / "1_Pooling/config.json", {"pooling_mode": mode})
    write_chain(folder, [("", "Transformer"), ("1_Pooling", "Pooling")])
    return folder


def random_ids(count: int) -> Ids:
    """Random token ids, with the lengths of `Corpus.mixed`."""
    rng = np.random.default_rng(0)
    return [rng.integers(1000, 20000, n).astype(np.int32) for n in mixed_lengths(count)]


def run_engine(engine: Engine, ids: Ids) -> None:
    """Run all sequences through openbei, with pooling."""
    sequences = [Sequence(tokens, len(tokens)) for tokens in ids]
    for indices in batches(sequences, BATCHES_AT_ONCE * engine.batch_tokens):
        engine.run(PackedBatch.pack([sequences[i] for i in indices]))


def run_transformers(model: Any, ids: Ids) -> None:  # noqa: ANN401
    """Run all sequences through transformers, in padded batches, longest first."""
    import torch

    ordered = sorted(ids, key=len, reverse=True)
    with torch.inference_mode():
        for start in range(0, len(ordered), PEER_BATCH):
            padded, mask = pad(ordered[start : start + PEER_BATCH])
            model(input_ids=torch.from_numpy(padded), attention_mask=torch.from_numpy(mask))


def checked_ids() -> Ids:
    """Random sequences of CHECKED_LENGTHS tokens, for the accuracy check."""
    rng = np.random.default_rng(1)
    return [rng.integers(1000, 20000, n).astype(np.int32) for n in CHECKED_LENGTHS]


def states_of(engine: Engine) -> NDArray[np.float32]:
    """Hidden states of `checked_ids`, concatenated."""
    batch = PackedBatch.pack([Sequence(ids, len(ids)) for ids in checked_ids()])
    return np.asarray(engine.run(batch, "tokens"), np.float32)


def check_accuracy(checkpoint: Path, threads: int) -> tuple[float, float]:
    """The worst cosine of hidden states in float32, and their error in bfloat16 relative to that of transformers."""
    ours, theirs = {}, {}
    dtypes: tuple[DType, ...] = ("float32", "bfloat16")
    for dtype in dtypes:
        ours[dtype] = states_of(load_engine(build_engine(checkpoint, checkpoint / dtype, dtype=dtype), threads=threads))
        peer = transformers_model(checkpoint, dtype=dtype)
        theirs[dtype] = np.concatenate([peer(ids.tolist()) for ids in checked_ids()])
    truth = theirs["float32"]
    return worst_direction(ours["float32"], truth), relative_error(ours["bfloat16"], truth) / relative_error(
        theirs["bfloat16"], truth
    )


def measure(setting: Setting, shape: Shape) -> ModelResult:
    """Measure one shape; its checkpoint and engine are deleted afterwards."""
    import torch
    import transformers

    torch.set_num_threads(setting.threads)
    checkpoint = checkpoint_of(setting, shape)
    cosine, error = check_accuracy(checkpoint, setting.threads)
    engine_dir = build_engine(checkpoint, checkpoint / "bfloat16", dtype="bfloat16")
    ids = random_ids(setting.count(NUM_TEXTS))
    model = transformers.AutoModel.from_pretrained(checkpoint, dtype=torch.bfloat16).eval()
    contenders = {
        "openbei": partial(run_engine, load_engine(engine_dir, threads=setting.threads), ids),
        "transformers bf16": partial(run_transformers, model, ids),
    }
    if shape.limit is not None:
        candidates = openvino_candidates(converted(checkpoint, shape.pooling), list, setting.threads, (8, 16))
        _, openvino = fastest_openvino(candidates, ids[::4])
        contenders["OpenVINO bf16"] = partial(openvino, ids)
    times = interleaved(contenders, setting.count(ROUNDS_FOR_A_LIMIT if shape.limit else ROUNDS))
    shutil.rmtree(checkpoint)
    for path in setting.folder.glob(f"{shape.model}.openvino.*"):
        path.unlink()
    return summary(shape, engine_dir.manifest.spec, ids, times, cosine, error)


def measure_without_peer(setting: Setting, shape: Shape) -> ModelResult:
    """Measure a shape that transformers lacks, with a random engine and the numpy backend as reference."""
    family, _ = find_family(shape.architecture)
    spec = family.parse(
        {"architectures": [shape.architecture], **shape.config}, EmbeddingHead(poolings=(shape.pooling,))
    )
    precise = random_engine_dir(spec)
    ours, truth = (states_of(load_engine(precise, backend=name)) for name in ("native", "reference"))
    engine = load_engine(random_engine_dir(spec, "bfloat16"), threads=setting.threads)
    ids = random_ids(setting.count(NUM_TEXTS))
    times = interleaved({"openbei": partial(run_engine, engine, ids)}, setting.count(ROUNDS))
    return summary(shape, spec, ids, times, worst_direction(ours, truth), None)


def summary(
    shape: Shape, spec: ModelSpec, ids: Ids, times: dict[str, list[float]], cosine: float, error: float | None
) -> ModelResult:
    """The result, with throughput and ratios from the measured times."""
    speed = {name: round(sum(map(len, ids)) / statistics.median(seconds)) for name, seconds in times.items()}
    ratios = {name: ratio(seconds, times["openbei"]) for name, seconds in times.items() if name != "openbei"}
    return ModelResult(shape, num_parameters(spec), cosine, error, speed, ratios)


def run(setting: Setting) -> list[Row]:
    """Measure every shape, or those of --shape. Also writes the table of docs/benchmarks.md to the folder."""
    results, rows = [], []
    for shape in [shape for shape in SHAPES if not setting.shapes or shape.model in setting.shapes]:
        # A process for each model frees all memory that torch and OpenVINO hold.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            measure_shape = measure if shape.has_peer else measure_without_peer
            result = process.submit(measure_shape, setting, shape).result()
        results.append(result)
        measured = {
            "model": shape.model,
            "tokens_per_s": result.tokens_per_s,
            "cosine": result.cosine,
            "error": result.error,
        }
        result_rows = [
            Row(f"{shape.model} shape, mixed, × {peer}", value, limit=shape.limit)
            for peer, value in result.ratios.items()
        ]
        report("models", setting.about(), measured, result_rows)
        rows += result_rows if shape.limit else []
    (setting.folder / PAGE).write_text(page(results))
    return rows


def page_of(setting: Setting) -> str:
    """The table that `run` wrote."""
    return (setting.folder / PAGE).read_text()
