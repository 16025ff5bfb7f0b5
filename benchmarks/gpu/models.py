"""Step 5: models end to end, from token ids to vectors, compared with transformers at the same sizes."""

import time
from collections import deque
from typing import Any

import numpy as np
import torch

from openbei.backends.cuda.engine import CudaEngine
from openbei.batch import Finish, PackedBatch, Sequence
from openbei.cli.bench import mixed_lengths
from openbei.spec import ModelSpec

from .run import Result, Run, attempt
from .shapes import engine_of, executed_flops, names_of, spec_of

SECONDS, PEER_SECONDS = 1.5, 1.0
WITHOUT_PEER = ("8B",)
"""Shapes that are measured alone, to save time."""


def run(run: Run) -> Result:
    """Tokens per second and TFLOP/s of each shape, for texts of 64, 512 and mixed tokens."""
    result: Result = {}
    for name in names_of(run):
        spec = spec_of(name, run)
        result[name] = attempt(lambda spec=spec: _speeds(run, spec))
        if spec.placement != "post":
            result[f"{name}, fp8"] = attempt(lambda spec=spec: _speeds(run, spec, is_float8=True))
        if name not in WITHOUT_PEER:
            result[f"{name}, transformers"] = attempt(lambda spec=spec: _peer_speeds(run, spec))
    return result


def lengths_of(kind: str, batch_tokens: int) -> list[int]:
    """The lengths of the texts of a batch."""
    if kind != "mixed":
        return [int(kind)] * max(batch_tokens // int(kind), 1)
    lengths: list[int] = []
    for length in mixed_lengths(batch_tokens):
        if sum(lengths) + length > batch_tokens:
            return lengths
        lengths.append(length)
    return lengths


def batches_of(spec: ModelSpec, lengths: list[int], count: int = 4) -> list[PackedBatch]:
    """Batches of random ids."""
    rng = np.random.default_rng(1)
    return [
        PackedBatch.pack(Sequence(rng.integers(spec.vocab_size, size=n, dtype=np.int32), n) for n in lengths)
        for _ in range(count)
    ]


def _speeds(run: Run, spec: ModelSpec, *, is_float8: bool = False) -> Result:
    engine = engine_of(spec, run, is_float8=is_float8)
    batch_tokens = 128 if run.is_tiny else engine.batch_tokens
    speeds: Result = {"precision": engine.info.precision, "batch_tokens": batch_tokens}
    for kind in ("64", "512", "mixed"):
        lengths = lengths_of(kind, batch_tokens)
        speed = _throughput(run, engine, batches_of(spec, lengths))
        flops = speed * sum(executed_flops(spec, n) for n in lengths) / sum(lengths)
        speeds[kind] = {"tokens_per_s": speed, "tflops": flops / 1e12}
    return speeds


def _throughput(run: Run, engine: CudaEngine, batches: list[PackedBatch]) -> float:
    """Tokens per second with two batches in flight."""
    in_flight: deque[Finish] = deque()
    for batch in batches[:2]:
        engine.run(batch)
    num_tokens, start = 0, time.perf_counter()
    while num_tokens == 0 or time.perf_counter() - start < run.seconds(SECONDS):
        for batch in batches:
            in_flight.append(engine.start(batch))
            num_tokens += batch.num_tokens
            if len(in_flight) == engine.max_in_flight:
                in_flight.popleft()()
    while in_flight:
        in_flight.popleft()()
    return num_tokens / (time.perf_counter() - start)


def _peer_speeds(run: Run, spec: ModelSpec) -> Result:
    """transformers with SDPA, in the same element type, texts of similar lengths padded together."""
    model = _peer(run, spec)
    speeds: Result = {}
    for kind in ("64", "512", "mixed"):
        lengths = sorted(lengths_of(kind, 128 if run.is_tiny else 16384))
        groups = [lengths[i : i + 32] for i in range(0, len(lengths), 32)] if kind == "mixed" else [lengths]
        inputs = [_padded(run, spec, group) for group in groups]

        def embed(inputs: list[dict[str, torch.Tensor]] = inputs) -> None:
            with torch.inference_mode():
                for one in inputs:
                    model(**one).last_hidden_state[:, 0].float().cpu()

        speeds[kind] = {"tokens_per_s": sum(lengths) / run.seconds_per_call(embed, PEER_SECONDS)}
    return speeds


def _padded(run: Run, spec: ModelSpec, lengths: list[int]) -> dict[str, torch.Tensor]:
    ids = torch.randint(spec.vocab_size, (len(lengths), max(lengths)), device=run.device)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"input_ids": ids, "attention_mask": mask.long().to(run.device)}


def _peer(run: Run, spec: ModelSpec) -> Any:  # noqa: ANN401
    import transformers

    sizes = {
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.hidden_size,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.attention.num_heads,
        "intermediate_size": spec.mlp.intermediate_size,
        "attn_implementation": "sdpa",
    }
    with torch.device(run.device):
        if spec.family == "bert":
            return transformers.BertModel(transformers.BertConfig(**sizes)).to(torch.float16).eval()
        sizes |= {"num_key_value_heads": spec.attention.num_kv_heads, "head_dim": spec.attention.head_dim}
        return transformers.Qwen3Model(transformers.Qwen3Config(**sizes)).to(torch.bfloat16).eval()
