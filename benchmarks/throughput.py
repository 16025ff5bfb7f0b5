"""In-process embedding throughput compared with the peers, including tokenization."""

import statistics
from functools import partial

from . import peers as peer_models
from .peers import Embed
from .results import Row, interleaved, ratio, report
from .setting import Setting

NUM_TEXTS = {"short": 1200, "mixed": 400, "long": 64}
ROUNDS = 4
LIMITS = {("mixed", "sentence-transformers float32"): 7.0, ("mixed", "OpenVINO bf16"): 1.6}


def run(setting: Setting) -> list[Row]:
    """Speed ratios to each peer for each class of lengths. All use the same number of threads."""
    ours = setting.model().embed
    peers: dict[str, Embed] = {
        "sentence-transformers float32": peer_models.sentence_transformer(setting.checkpoint, setting.threads),
        "sentence-transformers bfloat16": peer_models.sentence_transformer(
            setting.checkpoint, setting.threads, is_bfloat16=True
        ),
    }
    chosen, measured, rows = {}, {}, []
    for length, num_texts in NUM_TEXTS.items():
        texts = getattr(setting.corpus, length)(setting.count(num_texts))
        num_tokens = sum(len(e) for e in setting.corpus.tokenizer.encode_batch(texts))
        candidates = peer_models.openvino_candidates(
            peer_models.converted(setting.checkpoint), peer_models.encoder_of(setting.checkpoint), setting.threads
        )
        chosen[length], peers["OpenVINO bf16"] = peer_models.fastest_openvino(candidates, texts[::4])
        contenders = {"openbei": ours, **peers}
        runs = {name: partial(embed, texts) for name, embed in contenders.items()}
        times = interleaved(runs, setting.count(ROUNDS))
        measured[length] = {name: round(num_tokens / statistics.median(s)) for name, s in times.items()}
        for name in peers:
            faster = ratio(times[name], times["openbei"])
            rows.append(Row(f"throughput in process, {length}, × {name}", faster, limit=LIMITS.get((length, name))))
    report("throughput", setting.about(), {"tokens_per_s": measured, "openvino": chosen}, rows)
    return rows
