"""The peers: sentence-transformers on torch, and OpenVINO. Each maps texts to vectors, like `Model.embed`."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from openbei.spec import Pooling
from tests.same_embedding import worst_plain_cosine

from .results import interleaved
from .setting import MAX_TOKENS

if TYPE_CHECKING:
    import openvino
    import torch

Vectors = NDArray[np.float32]
Embed = Callable[[list[str]], Vectors]


def sentence_transformer(checkpoint: Path, threads: int, *, is_bfloat16: bool = False) -> Embed:
    """`SentenceTransformer(...).encode(texts)` with default settings, in float32 or bfloat16."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    options = {"dtype": torch.bfloat16} if is_bfloat16 else {}
    model = SentenceTransformer(str(checkpoint), device="cpu", model_kwargs=options)
    model.max_seq_length = MAX_TOKENS
    return lambda texts: np.asarray(model.encode(texts, show_progress_bar=False, convert_to_tensor=True).float())


class OpenVino:
    """A model in OpenVINO in bfloat16, with dynamic shapes. Several padded batches run concurrently.

    Items are sorted by `len` into batches; `ids_of` converts the items of a batch to token ids.
    """

    def __init__(
        self, path: Path, ids_of: Callable[[list[Any]], list[Any]], threads: int, hint: str, batch_size: int
    ) -> None:
        import openvino

        properties = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(path, "CPU", properties)
        self._width = compiled.output(0).get_partial_shape()[1].get_length()
        self._queue = openvino.AsyncInferQueue(compiled)
        self._queue.set_callback(self._take)
        self._ids_of = ids_of
        self._batch_size = batch_size

    def __call__(self, items: list[Any]) -> Vectors:
        """Embed the items; float32 [n, width], in order."""
        self._vectors = np.empty((len(items), self._width), np.float32)
        order = np.argsort([-len(item) for item in items], kind="stable")
        for start in range(0, len(items), self._batch_size):
            rows = order[start : start + self._batch_size]
            ids, mask = pad(self._ids_of([items[i] for i in rows]))
            self._queue.start_async([ids, mask], rows)
        self._queue.wait_all()
        return self._vectors

    def _take(self, request: "openvino.InferRequest", rows: NDArray[np.int64]) -> None:
        self._vectors[rows] = request.get_output_tensor().data


def encoder_of(checkpoint: Path) -> Callable[[list[str]], list[list[int]]]:
    """A function from texts to their token ids."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]


def pad(rows: list[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Padded token ids and attention mask, both [n, longest]."""
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    mask = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
        mask[i, : len(row)] = 1
    return ids, mask


def converted(checkpoint: Path, pooling: Pooling = "mean") -> Path:
    """Convert the torch model with its pooling to OpenVINO, and store it next to the checkpoint.

    Raises RuntimeError if it cannot be traced, or if the traced model differs from the original at another length.
    """
    import openvino
    import torch

    path = checkpoint.parent / f"{checkpoint.name}.openvino.xml"
    if not path.exists():
        model = pooled(checkpoint, pooling)
        ids = torch.randint(1000, 2000, (3, 11))
        with torch.no_grad():
            traced = openvino.convert_model(
                model, example_input={"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            )
        ids, mask = torch.randint(1000, 2000, (2, 90)), torch.ones((2, 90), dtype=torch.int64)
        mask[1, 50:] = 0
        precise = openvino.Core().compile_model(traced, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        with torch.no_grad():
            if worst_plain_cosine(precise([ids.numpy(), mask.numpy()])[0], model(ids, mask).numpy()) < 0.999:
                raise RuntimeError("the traced model differs from the original")
        openvino.save_model(traced, path, compress_to_fp16=False)
    return path


def pooled(checkpoint: Path, pooling: Pooling) -> "torch.nn.Module":
    """The transformers model in float32 with a pooling of the first, last or all tokens, in a traceable form."""
    import torch
    from transformers import AutoModel

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="sdpa").eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            config = self.encoder.config
            masks: Any = attention_mask
            if getattr(config, "use_bidirectional_attention", False):  # the model's own masks cannot be traced
                index = torch.arange(input_ids.shape[1])
                near = (index[None, :] - index[:, None]).abs() < config.sliding_window
                wide = attention_mask[:, None, None, :].to(torch.bool).expand(-1, 1, input_ids.shape[1], -1)
                masks = {"full_attention": wide, "sliding_attention": wide & near}
            cache = {"use_cache": False} if hasattr(config, "use_cache") else {}
            tokens = self.encoder(input_ids=input_ids, attention_mask=masks, **cache).last_hidden_state
            if pooling == "cls":
                return cast("torch.Tensor", tokens[:, 0])
            if pooling == "last_token":
                last = attention_mask.sum(1, keepdim=True)[..., None] - 1
                return cast("torch.Tensor", tokens.gather(1, last.expand(-1, 1, tokens.shape[-1]))[:, 0])
            mask = attention_mask[..., None].to(tokens.dtype)
            return (tokens * mask).sum(1) / mask.sum(1)

    return Pooled().eval()


def openvino_candidates(
    path: Path, ids_of: Callable[[list[Any]], list[Any]], threads: int, batch_sizes: tuple[int, ...] = (8, 16, 32, 64)
) -> Iterator[tuple[str, OpenVino]]:
    """An OpenVINO model for each combination of batch size and performance hint."""
    for hint in ("LATENCY", "THROUGHPUT"):
        for batch_size in batch_sizes:
            yield f"{hint.lower()} {batch_size}", OpenVino(path, ids_of, threads, hint, batch_size)


def fastest_openvino(candidates: Iterable[tuple[str, OpenVino]], items: list[Any]) -> tuple[str, OpenVino]:
    """The fastest of the candidates on these items."""
    fastest: tuple[float, str, OpenVino] | None = None
    for name, embed in candidates:
        seconds = min(
            interleaved({name: partial(embed, items)}, 2)[name]
        )  # `interleaved` discards the first round, which compiles the model
        if fastest is None or seconds < fastest[0]:
            fastest = (seconds, name, embed)
    assert fastest
    return fastest[1:]
