"""`bei embed` from Parquet to Parquet: its share of the engine's own throughput, its memory, and kills with resumption.

The engine's own throughput is that of the same batches, already tokenized and packed.
"""

import filecmp
import os
import random
import re
import signal
import statistics
import subprocess
import time
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from openbei.batch import PackedBatch
from openbei.bulk.part import PART_ROWS
from openbei.model import Model
from openbei.serving.in_process import BATCHES_AT_ONCE, batches, chunked
from openbei.serving.result_key import Key

from .results import Row, report
from .running import BEI
from .setting import Setting

NUM_ROWS, NUM_KILLS, ROUNDS = 200_000, 10, 3


def run(setting: Setting) -> list[Row]:
    """Throughput in turns with the engine's own, peak memory for all rows and for an eighth, and interrupted runs."""
    texts = setting.corpus.short(setting.count(NUM_ROWS))
    folder = setting.folder / "bulk"
    folder.mkdir(exist_ok=True)
    rows = write_rows(folder / "rows.parquet", texts)
    whole = folder / "whole.parquet"
    engine_dir = str(setting.engine_dir().path)
    with setting.model() as model:
        packed = packed_batches(model, texts)
        own, bulk, peaks = [], [], []
        for _ in range(setting.count(ROUNDS)):
            own.append(engine_tokens_per_s(model, packed))
            speed, peak = embed(engine_dir, rows, whole)
            bulk.append(speed)
            peaks.append(peak)
    share = statistics.median(b / o for b, o in zip(bulk, own, strict=True))
    part_of_rows = write_rows(folder / "part.parquet", texts[: max(len(texts) // 8, 1)])
    _, small_peak = embed(engine_dir, part_of_rows, folder / "part-embedded.parquet")
    num_kills = setting.count(NUM_KILLS)
    is_equal = [killed_is_equal(engine_dir, rows, whole, seed, statistics.median(bulk)) for seed in range(num_kills)]
    results = [
        Row(f"bei embed, Parquet, {len(texts):,} short rows, share of the engine's own throughput", share, limit=0.95),
        Row("bei embed, peak memory against an eighth of the rows, MB more", max(peaks) - small_peak, "{:.0f}"),
        Row(f"bei embed, identical files after kill -9 and resumption, of {num_kills}", sum(is_equal), "{:.0f}"),
    ]
    measured = {"engine": own, "bulk": bulk, "peak_mb": peaks, "peak_mb_of_an_eighth": small_peak}
    report("bulk", setting.about(), measured, results)
    return results


def write_rows(path: Path, texts: list[str]) -> Path:
    """A Parquet file with an id and a text for each row."""
    parquet.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=50_000)
    return path


def packed_batches(model: Model, texts: list[str]) -> list[PackedBatch]:
    """The batches of `bei embed`."""
    most = min(BATCHES_AT_ONCE * model.engine.batch_tokens, model.manifest.max_num_tokens)
    packed = []
    for part in chunked(texts, PART_ROWS):
        sequences = {Key.of(sequence, "pooled"): sequence for sequence in model.tokenizer.encode(part)}
        packed += [PackedBatch.pack(sequences[key] for key in keys) for keys in batches(sequences, most)]
    return packed


def engine_tokens_per_s(model: Model, packed: list[PackedBatch]) -> float:
    """Throughput of the engine alone."""
    start = time.perf_counter()
    for batch in packed:
        model.engine.run(batch)
    return sum(batch.num_tokens for batch in packed) / (time.perf_counter() - start)


def embed(engine_dir: str, rows: Path, output: Path) -> tuple[float, float]:
    """The tokens per second that `bei embed` reports, from the first read to the complete file, and its peak in MB."""
    command = [*BEI, "embed", engine_dir, "--input", str(rows), "--output", str(output), "--no-resume"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        summary = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    match = re.search(r"([\d,]+) tokens/s", summary)
    assert match, summary
    return float(match[1].replace(",", "")), usage.ru_maxrss * 1024 / 1e6


def killed_is_equal(engine_dir: str, rows: Path, whole: Path, seed: int, tokens_per_s: float) -> bool:
    """Whether a run that is killed at a random time, then resumed, writes the same file."""
    output = rows.with_name("killed.parquet")
    output.unlink(missing_ok=True)
    command = [*BEI, "embed", engine_dir, "--input", str(rows), "--output", str(output)]
    seconds = parquet.ParquetFile(rows).metadata.num_rows * 17 / tokens_per_s
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        folder = output.with_name(f"{output.name}.parts")
        while process.poll() is None and not (folder / "complete").exists():
            time.sleep(0.001)
        time.sleep(random.Random(seed).random() * seconds)
        process.send_signal(signal.SIGKILL)
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    return filecmp.cmp(output, whole, shallow=False)
