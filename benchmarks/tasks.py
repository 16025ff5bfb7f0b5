"""In-process speed of the tasks other than embedding, compared with sentence-transformers and transformers.

The models are the layers of a published model with random heads: their results are meaningless, their speed is real.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

from openbei.backends import load_engine
from openbei.batch import Engine, Output, PackedBatch, Sequence
from openbei.engine_dir import EngineDir
from openbei.serving.in_process import BATCHES_AT_ONCE, batches
from openbei.serving.tokenizer import Tokenizer
from openbei.tasks.classify import apply_activation
from openbei.tasks.sparse import terms
from openbei.tasks.tokens import entities
from tests.checkpoint import build_engine

from .results import Row, interleaved, ratio, report
from .setting import Setting

Work = Callable[[], object]

NUM_TEXTS = {"rerank": 300, "named entities": 200, "SPLADE": 150}
ROUNDS = 4


def checkpoint_of(setting: Setting, architecture: str, **config: object) -> Path:
    """Save the published model's layers with another head."""
    import torch
    import transformers

    folder = setting.folder / architecture
    torch.manual_seed(0)
    model = getattr(transformers, architecture).from_pretrained(setting.checkpoint, **config)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(setting.checkpoint).save_pretrained(folder)
    return folder


def ours(setting: Setting, checkpoint: Path) -> tuple[EngineDir, Engine, Tokenizer]:
    """Build and load a checkpoint in bfloat16."""
    engine_dir = build_engine(checkpoint, checkpoint / "engine", dtype="bfloat16")
    return engine_dir, load_engine(engine_dir, threads=setting.threads), Tokenizer.open(engine_dir)


def run_all(
    engine: Engine, sequences: list[Sequence], output: Output, take: Callable[[list[int], object], object]
) -> None:
    """Run sequences in batches, and call `take` with the indices and output rows of each batch."""
    for indices in batches(sequences, BATCHES_AT_ONCE * engine.batch_tokens):
        take(indices, engine.run(PackedBatch.pack([sequences[i] for i in indices]), output))


def rerank(setting: Setting, texts: list[str]) -> dict[str, Work]:
    """Scores of pairs of a query and a text."""
    from sentence_transformers import CrossEncoder

    checkpoint = checkpoint_of(setting, "BertForSequenceClassification", num_labels=1)
    _, engine, tokenizer = ours(setting, checkpoint)
    pairs = [("how does one write a loop", text) for text in texts]

    def score() -> None:
        take = lambda _, rows: apply_activation(rows, "softmax")  # noqa: E731
        run_all(engine, tokenizer.encode_pairs(pairs), "pooled", take)

    model = CrossEncoder(str(checkpoint), device="cpu", max_length=512)
    return {"openbei": score, "sentence-transformers float32": partial(model.predict, pairs, show_progress_bar=False)}


def named_entities(setting: Setting, texts: list[str]) -> dict[str, Work]:
    """Spans of named entities in texts."""
    import transformers

    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    checkpoint = checkpoint_of(setting, "BertForTokenClassification", **names)
    engine_dir, engine, tokenizer = ours(setting, checkpoint)

    def find() -> None:
        tokenized = tokenizer.encode_texts_for_labels(texts)

        def take(indices: list[int], rows: object) -> None:
            start = 0
            for i in indices:
                stop = start + tokenized[i].sequence.num_tokens
                entities(tokenized[i], rows[start:stop], engine_dir.manifest.labels, "max", raw_scores=False)  # type: ignore[index]
                start = stop

        run_all(engine, [text.sequence for text in tokenized], "labels", take)

    pipeline = transformers.pipeline("ner", model=str(checkpoint), aggregation_strategy="max", device="cpu")
    return {"openbei": find, "transformers pipeline float32": lambda: pipeline(texts, batch_size=16)}


def splade(setting: Setting, texts: list[str]) -> dict[str, Work]:
    """Term weights of texts."""
    from sentence_transformers import SparseEncoder

    checkpoint = checkpoint_of(setting, "BertForMaskedLM")
    model = SparseEncoder(str(checkpoint), device="cpu")
    model.save_pretrained(str(checkpoint))
    _, engine, tokenizer = ours(setting, checkpoint)

    def weigh() -> None:
        run_all(engine, tokenizer.encode(texts), "pooled", lambda _, rows: terms(rows))  # type: ignore[arg-type]

    return {"openbei": weigh, "sentence-transformers float32": partial(model.encode, texts, show_progress_bar=False)}


TASKS: dict[str, Callable[[Setting, list[str]], dict[str, Work]]] = {
    "rerank": rerank,
    "named entities": named_entities,
    "SPLADE": splade,
}


def run(setting: Setting) -> list[Row]:
    """Speed ratios to the peer for each task on mixed texts."""
    import torch

    torch.set_num_threads(setting.threads)
    rows, measured = [], {}
    for task, contenders_of in TASKS.items():
        texts = setting.corpus.mixed(setting.count(NUM_TEXTS[task]))
        contenders = contenders_of(setting, texts)
        times = interleaved(contenders, setting.count(ROUNDS))
        measured[task] = {name: round(len(texts) / statistics.median(s), 1) for name, s in times.items()}
        [peer] = set(contenders) - {"openbei"}
        rows.append(Row(f"{task} in process, mixed, × {peer}", ratio(times[peer], times["openbei"])))
    report("tasks", setting.about(), {"texts_per_s": measured}, rows)
    return rows
