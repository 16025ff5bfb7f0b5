"""Step 7: the server over HTTP with texts of 5 and 500 tokens, and with the client used for BEI's published figures."""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np

from openbei.engine_dir import write_engine_dir
from openbei.safetensors_file import LazyTensor
from tests.random_engine import random_engine_dir
from tests.small_tokenizer import VOCAB_SIZE, words, write_tokenizer

from ..client import request_bytes, send_all
from ..running import server
from .run import Result, Run, attempt
from .shapes import spec_of

PERFORMANCE_CLIENT = {"5 tokens": (3, 20_000), "500 tokens": (498, 4_000)}
"""Words of a text and number of texts, as for BEI's published figures, which its own client measured."""

LOADS = {"5 tokens": (3, 1, 256, 20_000), "500 tokens": (498, 1, 64, 4_000), "500 tokens, 16 texts": (498, 16, 16, 500)}
"""Words of a text, texts of a request, connections, requests."""

FRONTS = (0, 8)
"""Front processes of the servers that are measured."""


def run(run: Run) -> Result:
    """Texts and tokens per second, for a BERT of base size with a small vocabulary."""
    if missing := [name for name in ("uvicorn", "starlette", "uvloop", "tokenizers") if find_spec(name) is None]:
        return {"skipped": f"not installed: {', '.join(missing)}"}
    counts = (0,) if run.is_tiny else FRONTS
    return {f"{count} front processes": attempt(lambda count=count: _measured(run, count)) for count in counts}


def _measured(run: Run, num_fronts: int) -> Result:
    with tempfile.TemporaryDirectory() as folder, _server(run, Path(folder), num_fronts) as (port, log):
        result: Result = {"engine": log}
        for name, (num_words, num_texts, num_connections, count) in LOADS.items():
            count = 4 if run.is_tiny else count
            requests = [request_bytes([words(i + j, num_words) for j in range(num_texts)]) for i in range(count)]
            send_all(port, requests[: max(count // 10, 1)], num_connections)
            start = time.perf_counter()
            latencies = send_all(port, requests, num_connections)
            seconds = time.perf_counter() - start
            result[name] = {
                "texts_per_s": count * num_texts / seconds,
                "tokens_per_s": count * num_texts * (num_words + 2) / seconds,
                "p50_ms": 1e3 * float(np.median(latencies)),
                "connections": num_connections,
            }
        return result | {
            f"Performance Client, {name}": attempt(lambda load=load: _performance_client(run, port, *load))
            for name, load in PERFORMANCE_CLIENT.items()
        }


def _performance_client(run: Run, port: int, num_words: int, count: int) -> Result:
    """Texts per second, with the client's default number of texts per request and with 16."""
    if find_spec("baseten_performance_client") is None:
        return {"skipped": "not installed: baseten-performance-client"}
    from baseten_performance_client import PerformanceClient, RequestProcessingPreference

    client = PerformanceClient(f"http://127.0.0.1:{port}", "none")
    texts = [words(i, num_words) for i in range(8 if run.is_tiny else count)]
    speeds: Result = {}
    for name, preference in (
        ("default", None),
        ("16 texts", RequestProcessingPreference(batch_size=16, max_concurrent_requests=64)),
    ):
        client.embed(input=texts[: max(len(texts) // 10, 1)], model="m", preference=preference)
        start = time.perf_counter()
        client.embed(input=texts, model="m", preference=preference)
        speeds[name] = {"texts_per_s": len(texts) / (time.perf_counter() - start)}
    return speeds


@contextmanager
def _server(run: Run, folder: Path, num_fronts: int) -> Iterator[tuple[int, str]]:
    spec = msgspec.structs.replace(spec_of("MiniLM" if run.is_tiny else "bge-base", run), vocab_size=VOCAB_SIZE)
    engine_dir = random_engine_dir(spec, "bfloat16")
    tensors = {
        name: LazyTensor(array.shape, array.dtype, partial(np.ascontiguousarray, array))
        for name, array in engine_dir.tensors.items()
    }
    manifest = msgspec.structs.replace(engine_dir.manifest, max_num_tokens=16384)
    write_engine_dir(folder / "engine", manifest, tensors, write_tokenizer(folder / "tokenizer.json").read_bytes())
    device = "cuda" if run.is_cuda else "cpu"
    with server(folder / "engine", "--device", device, "--front-processes", str(num_fronts)) as running:
        found = re.search(r"ready on \S+ \((.*)\)", running.log)
        yield running.port, found[1] if found else ""
