"""Published checkpoints against sentence-transformers: are the vectors right, what is their score, and how fast is it.

The score is Spearman's correlation on the test set of the STS benchmark. `STS_SCORES` says what it must be.
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
from openbei.embedder import BATCHES_AT_ONCE, Embedder, batches
from openbei.engine_dir import EngineDir
from openbei.serving.tokenizer import Tokenizer
from openbei.shapes import num_parameters
from openbei.spec import DType
from tests.checkpoint import build_engine
from tests.dense_rows import dense_rows
from tests.published.checkpoint import EMBEDDERS, STS_SCORES
from tests.published.fetch import CACHE, DOWNLOADS
from tests.published.sts import spearman
from tests.same_embedding import worst_plain_cosine

from .judges import Embed, Vectors
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
class Judged:
    """One checkpoint. `cosines` are the worst to sentence-transformers in float32, `scores` those of the benchmark."""

    name: str
    parameters: int
    cosines: dict[str, float]
    tokens_per_s: dict[str, int]
    ratios: dict[str, float]
    scores: dict[str, float] = field(default_factory=dict)


def sentence_transformer(folder: Path, threads: int, dtype: DType) -> Embed:
    """The model as it is published, in a dtype."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True).to(getattr(torch, dtype))
    return lambda texts: np.asarray(model.encode(texts, show_progress_bar=False, convert_to_tensor=True).float())


def summary(
    name: str, engine_dir: EngineDir, texts: list[str], cosines: dict[str, float], times: dict[str, list[float]]
) -> Judged:
    """What was found, without scores."""
    num_tokens = sum(sequence.num_tokens for sequence in Tokenizer.open(engine_dir).encode(texts))
    speed = {who: round(num_tokens / statistics.median(seconds)) for who, seconds in times.items()}
    ratios = {who: ratio(seconds, times["openbei"]) for who, seconds in times.items() if who != "openbei"}
    return Judged(name, num_parameters(engine_dir.manifest.spec), cosines, speed, ratios)


def measure_embedder(setting: Setting, name: str, folder: Path) -> Judged:
    """One embedding model; its engines hold half a gigabyte, and stay in the folder."""
    texts = setting.corpus.mixed(setting.count(NUM_TEXTS[name]))
    engine_dirs = {dtype: build_engine(folder, setting.folder / f"{name}-{dtype}", dtype=dtype) for dtype in DTYPES}
    ours = {
        dtype: Embedder.open(engine_dir, load_engine(engine_dir, threads=setting.threads)).embed
        for dtype, engine_dir in engine_dirs.items()
    }
    peers = {who: sentence_transformer(folder, setting.threads, dtype) for who, dtype in PEERS.items()}
    truth = peers["sentence-transformers float32"](texts)
    cosines = {dtype: worst_plain_cosine(embed(texts), truth) for dtype, embed in ours.items()}
    runs = {who: partial(embed, texts) for who, embed in {"openbei": ours["bfloat16"], **peers}.items()}
    found = summary(name, engine_dirs["bfloat16"], texts, cosines, interleaved(runs, setting.count(ROUNDS)))
    if DOWNLOADS[STS].is_in(CACHE):
        sample = min(setting.count(NUM_PAIRS), NUM_PAIRS)
        found.scores.update({dtype: spearman(CACHE / STS, embed, sample=sample) for dtype, embed in ours.items()})
    return found


def term_weights(engine_dir: EngineDir, engine: Engine, texts: list[str]) -> Vectors:
    """Term weights of texts, a column for each word of the vocabulary."""
    sequences = Tokenizer.open(engine_dir).encode(texts)
    rows = np.zeros((len(texts), engine_dir.manifest.spec.output_width), np.float32)
    for indices in batches(sequences, BATCHES_AT_ONCE * engine.batch_tokens):
        found: Any = engine.run(PackedBatch.pack([sequences[i] for i in indices]))
        rows[indices] = dense_rows(found)
    return rows


def measure_splade(setting: Setting, name: str, folder: Path) -> Judged:
    """One SPLADE, saved once by sentence-transformers, which adds what says that it is one."""
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


def judge_all(setting: Setting) -> Iterator[Judged]:
    """Every checkpoint that is here."""
    for name in (*EMBEDDERS, SPLADE):
        if name not in DOWNLOADS:
            yield measure_embedder(setting, name, setting.checkpoint)
        elif DOWNLOADS[name].is_in(CACHE):
            yield (measure_splade if name == SPLADE else measure_embedder)(setting, name, CACHE / name)
        else:
            print(f"{name} is not here; `make checkpoints` fetches it where the package registry is within reach")


def page(found: list[Judged]) -> str:
    """Markdown: one row for each checkpoint."""
    head = (
        "checkpoint", "parameters", "1 - worst cosine, float32", "the same, bfloat16", "STS-B test, float32",
        "bfloat16", "reference", "× sentence-transformers float32", "× bfloat16", "tokens/s",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for one in found:
        scores = [one.scores.get(dtype) for dtype in DTYPES] + [STS_SCORES.get(one.name)]
        numbers = [*scores, *(one.ratios.get(peer) for peer in PEERS)]
        lines.append((
            one.name,
            f"{one.parameters / 1e6:,.0f} M",
            *(f"{max(1 - one.cosines[dtype], 0):.0e}" for dtype in DTYPES),
            *("" if number is None else f"{number:.2f}" for number in numbers),
            f"{one.tokens_per_s['openbei']:,}",
        ))  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run(setting: Setting) -> list[Row]:
    """Scores, and ratios of medians on mixed texts; the table of docs/benchmarks.md stays in the folder."""
    rows, found = [], []
    for one in judge_all(setting):
        found.append(one)
        about = {"model": one.name, "cosines": one.cosines, "scores": one.scores, "tokens_per_s": one.tokens_per_s}
        reference = STS_SCORES.get(one.name)
        limit = None if reference is None else reference - TOLERANCE
        kept = [
            Row(f"{one.name}, STS-B test, 100 × Spearman, {dtype}", score, limit=limit)
            for dtype, score in one.scores.items()
        ] + [Row(f"{one.name} in process, mixed, × {peer}", value) for peer, value in one.ratios.items()]
        report("published", setting.about(), about, kept)
        rows += kept
    (setting.folder / PAGE).write_text(page(found))
    return rows


def page_of(setting: Setting) -> str:
    """The table that `run` left."""
    return (setting.folder / PAGE).read_text()
