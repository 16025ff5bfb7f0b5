"""Accuracy, STS score and speed of published checkpoints, compared with sentence-transformers.

The score is Spearman's correlation on the test set of the STS benchmark. `STS_SCORES` has the reference scores.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from openbei.backends import load_engine
from openbei.batch import Engine, PackedBatch
from openbei.engine_dir import EngineDir
from openbei.model import Model
from openbei.serving.in_process import BATCHES_AT_ONCE, batches
from openbei.serving.tokenizer import Tokenizer
from openbei.shapes import num_parameters
from openbei.spec import DType
from tests.checkpoint import build_engine
from tests.dense_rows import dense_rows
from tests.published.checkpoint import EMBEDDERS, STS_SCORES
from tests.published.fetch import CACHE, DOWNLOADS
from tests.published.sts import spearman
from tests.same_embedding import worst_plain_cosine

from .peers import Embed, Vectors
from .results import Row, interleaved, ratio, report
from .setting import Setting

STS, SPLADE = "STS-B", "SPLADE-tiny-msmarco"
NUM_TEXTS = {
    "all-MiniLM-L6-v2": 100,
    "all-mpnet-base-v2": 20,
    "paraphrase-MiniLM-L3-v2": 200,
    "multilingual-e5-small-4bit": 50,
    "wordllama-l2-supercat-256": 1000,
    SPLADE: 100,
}
ROUNDS = 3
NUM_PAIRS = 1379
TOLERANCE = 0.1
PAGE = "published.md"
DTYPES: tuple[DType, ...] = ("float32", "bfloat16")
PEERS: dict[str, DType] = {f"sentence-transformers {dtype}": dtype for dtype in DTYPES}


@dataclass(frozen=True)
class Result:
    """Results of one checkpoint: worst cosines to sentence-transformers in float32, and STS scores, both by dtype."""

    name: str
    parameters: int
    cosines: dict[str, float]
    tokens_per_s: dict[str, int]
    ratios: dict[str, float]
    scores: dict[str, float] = field(default_factory=dict)


def sentence_transformer(folder: Path, threads: int, dtype: DType) -> Embed:
    """The published model in sentence-transformers, converted to a dtype."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True).to(getattr(torch, dtype))
    return lambda texts: np.asarray(model.encode(texts, show_progress_bar=False, convert_to_tensor=True).float())


def summary(
    name: str, engine_dir: EngineDir, texts: list[str], cosines: dict[str, float], times: dict[str, list[float]]
) -> Result:
    """The result of a checkpoint, without STS scores."""
    num_tokens = sum(sequence.num_tokens for sequence in Tokenizer.open(engine_dir).encode(texts))
    speed = {engine: round(num_tokens / statistics.median(seconds)) for engine, seconds in times.items()}
    ratios = {engine: ratio(seconds, times["openbei"]) for engine, seconds in times.items() if engine != "openbei"}
    return Result(name, num_parameters(engine_dir.manifest.spec), cosines, speed, ratios)


def measure_embedder(setting: Setting, name: str, folder: Path) -> Result:
    """Measure one embedding model. Its engines (half a gigabyte) are kept in the folder."""
    texts = setting.corpus.mixed(setting.count(NUM_TEXTS[name]))
    engine_dirs = {dtype: build_engine(folder, setting.folder / f"{name}-{dtype}", dtype=dtype) for dtype in DTYPES}
    ours = {dtype: Model(engine_dir.path, threads=setting.threads).embed for dtype, engine_dir in engine_dirs.items()}
    peers = {peer: sentence_transformer(folder, setting.threads, dtype) for peer, dtype in PEERS.items()}
    truth = peers["sentence-transformers float32"](texts)
    cosines = {dtype: worst_plain_cosine(embed(texts), truth) for dtype, embed in ours.items()}
    runs = {engine: partial(embed, texts) for engine, embed in {"openbei": ours["bfloat16"], **peers}.items()}
    result = summary(name, engine_dirs["bfloat16"], texts, cosines, interleaved(runs, setting.count(ROUNDS)))
    if DOWNLOADS[STS].is_in(CACHE):
        sample = min(setting.count(NUM_PAIRS), NUM_PAIRS)
        result.scores.update({dtype: spearman(CACHE / STS, embed, sample=sample) for dtype, embed in ours.items()})
    return result


def term_weights(engine_dir: EngineDir, engine: Engine, texts: list[str]) -> Vectors:
    """Dense term weights float32 [texts, vocab_size]."""
    sequences = Tokenizer.open(engine_dir).encode(texts)
    rows = np.zeros((len(texts), engine_dir.manifest.spec.output_width), np.float32)
    for indices in batches(sequences, BATCHES_AT_ONCE * engine.batch_tokens):
        weights: Any = engine.run(PackedBatch.pack([sequences[i] for i in indices]))
        rows[indices] = dense_rows(weights)
    return rows


def measure_splade(setting: Setting, name: str, folder: Path) -> Result:
    """Measure the SPLADE model.

    sentence-transformers saves it first, which adds the files that identify it as SPLADE.
    """
    import torch
    from sentence_transformers import SparseEncoder

    torch.set_num_threads(setting.threads)
    texts = setting.corpus.mixed(setting.count(NUM_TEXTS[name]))
    model = SparseEncoder(str(folder), device="cpu", local_files_only=True)
    saved = setting.folder / name
    model.save_pretrained(str(saved), create_model_card=False)
    weigh: dict[str, Callable[[], Vectors]] = {}
    for dtype in DTYPES:
        engine_dir = build_engine(saved, setting.folder / f"{name}-{dtype}", dtype=dtype)
        weigh[dtype] = partial(term_weights, engine_dir, load_engine(engine_dir, threads=setting.threads), texts)
    encode = partial(model.encode, texts, show_progress_bar=False, convert_to_sparse_tensor=False)
    truth = np.asarray(encode(convert_to_tensor=True), np.float32)
    cosines = {dtype: worst_plain_cosine(run(), truth) for dtype, run in weigh.items()}
    runs = {"openbei": weigh["bfloat16"], "sentence-transformers float32": encode}
    return summary(name, engine_dir, texts, cosines, interleaved(runs, setting.count(ROUNDS)))


def measure_all(setting: Setting) -> Iterator[Result]:
    """Measure every checkpoint that has been downloaded."""
    for name in (*EMBEDDERS, SPLADE):
        if name not in DOWNLOADS:
            yield measure_embedder(setting, name, setting.checkpoint)
        elif DOWNLOADS[name].is_in(CACHE):
            yield (measure_splade if name == SPLADE else measure_embedder)(setting, name, CACHE / name)
        else:
            print(f"{name} is skipped: it is not downloaded (hint: `make checkpoints`)")


def page(results: list[Result]) -> str:
    """The Markdown table, one row for each checkpoint."""
    head = (
        "checkpoint",
        "parameters",
        "1 - worst cosine, float32",
        "the same, bfloat16",
        "STS-B test, float32",
        "bfloat16",
        "reference",
        "× sentence-transformers float32",
        "× bfloat16",
        "tokens/s",
    )
    lines = [head, ("---",) * len(head)]
    for result in results:
        scores = [result.scores.get(dtype) for dtype in DTYPES] + [STS_SCORES.get(result.name)]
        numbers = [*scores, *(result.ratios.get(peer) for peer in PEERS)]
        lines.append(
            (
                result.name,
                f"{result.parameters / 1e6:,.0f} M",
                *(f"{max(1 - result.cosines[dtype], 0):.0e}" for dtype in DTYPES),
                *("" if number is None else f"{number:.2f}" for number in numbers),
                f"{result.tokens_per_s['openbei']:,}",
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run(setting: Setting) -> list[Row]:
    """Measure scores and speed ratios. Also writes the table of docs/benchmarks.md to the folder."""
    rows, results = [], []
    for result in measure_all(setting):
        results.append(result)
        measured = {
            "model": result.name,
            "cosines": result.cosines,
            "scores": result.scores,
            "tokens_per_s": result.tokens_per_s,
        }
        reference = STS_SCORES.get(result.name)
        limit = None if reference is None else reference - TOLERANCE
        result_rows = [
            Row(f"{result.name}, STS-B test, 100 × Spearman, {dtype}", score, limit=limit)
            for dtype, score in result.scores.items()
        ] + [Row(f"{result.name} in process, mixed, × {peer}", value) for peer, value in result.ratios.items()]
        report("published", setting.about(), measured, result_rows)
        rows += result_rows
    (setting.folder / PAGE).write_text(page(results))
    return rows


def page_of(setting: Setting) -> str:
    """The table that `run` wrote."""
    return (setting.folder / PAGE).read_text()
