"""The peers: sentence-transformers on torch, and OpenVINO. Each takes texts and gives vectors, as ours does."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from .setting import MAX_TOKENS

if TYPE_CHECKING:
    import openvino

Vectors = NDArray[np.float32]
Embed = Callable[[list[str]], Vectors]


def sentence_transformer(checkpoint: Path, threads: int, *, is_bfloat16: bool = False) -> Embed:
    """`SentenceTransformer(...).encode(texts)` with nothing changed, in float32 or bfloat16."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    options = {"dtype": torch.bfloat16} if is_bfloat16 else {}
    model = SentenceTransformer(str(checkpoint), device="cpu", model_kwargs=options)
    model.max_seq_length = MAX_TOKENS
    return lambda texts: np.asarray(model.encode(texts, show_progress_bar=False, convert_to_tensor=True).float())


class OpenVino:
    """The model in OpenVINO in bfloat16, dynamic shapes, tokenized and padded by our library, sorted by length."""

    def __init__(self, checkpoint: Path, threads: int, hint: str, batch_size: int) -> None:
        import openvino

        properties = {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads}
        self._compiled = openvino.Core().compile_model(converted(checkpoint), "CPU", properties)
        self._queue = openvino.AsyncInferQueue(self._compiled)
        self._queue.set_callback(self._take)
        self._tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._batch_size = batch_size

    def __call__(self, texts: list[str]) -> Vectors:
        """Embed texts; float32 [n, 384], in their order."""
        self._vectors = np.empty((len(texts), 384), np.float32)
        order = np.argsort([-len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), self._batch_size):
            rows = order[start : start + self._batch_size]
            encodings = self._tokenizer.encode_batch_fast([texts[i] for i in rows])
            ids = np.array([e.ids for e in encodings], np.int64)
            mask = np.array([e.attention_mask for e in encodings], np.int64)
            self._queue.start_async([ids, mask], rows)
        self._queue.wait_all()
        return self._vectors

    def _take(self, request: "openvino.InferRequest", rows: NDArray[np.int64]) -> None:
        self._vectors[rows] = request.get_output_tensor().data


def converted(checkpoint: Path) -> "openvino.Model":
    """The torch model, mean pooling and normalization included, as an OpenVINO model; kept beside the checkpoint."""
    import openvino
    import torch
    from transformers import AutoModel

    path = checkpoint.parent / "openvino.xml"
    if not path.exists():

        class Pooled(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.encoder = AutoModel.from_pretrained(checkpoint, attn_implementation="sdpa").eval()

            def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
                # A mask of one row a query, spelled out, which tracing keeps general in batch and length.
                wide = attention_mask[:, None, None, :].to(torch.bool).expand(-1, 1, input_ids.shape[1], -1)
                tokens = self.encoder(input_ids=input_ids, attention_mask=wide).last_hidden_state
                mask = attention_mask[..., None].to(tokens.dtype)
                return torch.nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1), dim=-1)

        ids = torch.randint(1000, 2000, (3, 11))
        with torch.no_grad():
            model = openvino.convert_model(
                Pooled(), example_input={"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            )
        openvino.save_model(model, path, compress_to_fp16=False)
    return openvino.Core().read_model(path)


def openvino_candidates(checkpoint: Path, threads: int) -> Iterator[tuple[str, Embed]]:
    """OpenVINO at each batch size and performance hint worth trying."""
    for hint in ("LATENCY", "THROUGHPUT"):
        for batch_size in (8, 16, 32, 64):
            yield f"{hint.lower()} {batch_size}", OpenVino(checkpoint, threads, hint, batch_size)
