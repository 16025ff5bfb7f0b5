"""The peers, with random weights of the same sizes: transformers with SDPA, and sentence-transformers."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from openbei.spec import ModelSpec

from .run import Run

TEXTS_PER_BATCH = 32
"""The default of sentence-transformers."""


def model_of(run: Run, spec: ModelSpec) -> Any:  # noqa: ANN401
    """The model of transformers, in 16 bits: float16 for BERT, like our engine."""
    from transformers.models.bert.modeling_bert import BertConfig, BertModel
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Config, Qwen3Model

    sizes = {
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.hidden_size,
        "num_hidden_layers": spec.num_layers,
        "num_attention_heads": spec.attention.num_heads,
        "intermediate_size": spec.mlp.intermediate_size,
        "attn_implementation": "sdpa",
    }
    dtype = torch.float16 if spec.family == "bert" else torch.bfloat16
    torch.set_default_dtype(dtype)  # the weights of 8B would not fit in float32
    try:
        with torch.device(run.device):
            if spec.family == "bert":
                return BertModel(BertConfig(**sizes)).eval()
            sizes |= {"num_key_value_heads": spec.attention.num_kv_heads, "head_dim": spec.attention.head_dim}
            return Qwen3Model(Qwen3Config(**sizes)).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def seconds_of_transformers(run: Run, spec: ModelSpec, model: Any, lengths: list[int], seconds: float) -> float:  # noqa: ANN401
    """Seconds for texts of these lengths. If lengths differ, texts of similar lengths are padded together."""
    lengths = sorted(lengths)
    size = TEXTS_PER_BATCH if lengths[0] < lengths[-1] else len(lengths)
    inputs = [_padded(run, spec, lengths[i : i + size]) for i in range(0, len(lengths), size)]

    def embed() -> None:
        with torch.inference_mode():
            for one in inputs:
                model(**one).last_hidden_state[:, 0].float().cpu()

    return run.seconds_per_call(embed, seconds)


def seconds_of_sentence_transformers(run: Run, model: Any, lengths: list[int], seconds: float) -> float:  # noqa: ANN401
    """Seconds of `encode` for texts of these lengths, in batches of the default size or of all tokens at once.

    Texts are as long as their numbers of tokens, and tokenizing them takes no time.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    pooling = Pooling(model.config.hidden_size, pooling_mode="cls")
    peer = SentenceTransformer(modules=[_Encoder(model), pooling], device=str(run.device))
    texts = ["x" * length for length in lengths]

    def embed(batch_size: int) -> float:
        return run.seconds_per_call(
            lambda: peer.encode(texts, batch_size=batch_size, show_progress_bar=False), seconds / 2
        )

    return min(embed(TEXTS_PER_BATCH), embed(len(texts)))


class _Encoder(torch.nn.Module):
    """The first module of sentence-transformers: a model whose tokenizer gives each character the id 7."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.model = model

    def preprocess(self, texts: list[str], **options: object) -> dict[str, Tensor]:
        """Ids and mask of padded texts."""
        lengths = torch.tensor([len(text) for text in texts])
        mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        return {"input_ids": 7 * mask, "attention_mask": mask}

    tokenize = preprocess

    def forward(self, features: dict[str, Tensor], **options: object) -> dict[str, Tensor]:
        """The last layer's rows."""
        inputs = {name: features[name] for name in ("input_ids", "attention_mask")}
        return features | {"token_embeddings": self.model(**inputs).last_hidden_state}


def _padded(run: Run, spec: ModelSpec, lengths: list[int]) -> dict[str, Tensor]:
    ids = torch.randint(spec.vocab_size, (len(lengths), max(lengths)), device=run.device)
    mask = torch.from_numpy(np.arange(max(lengths)) < np.array(lengths)[:, None])
    return {"input_ids": ids, "attention_mask": mask.long().to(run.device)}
