"""Tokenization speed in tokens per second and core, with the tokenizer of the server.

Without arguments it measures the tokenizers of the published checkpoints; `python -m benchmarks.tokenization NAME=PATH`
measures any tokenizer.json.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import tokenizers

from openbei.serving.tokenizer import Tokenizer
from tests.published.fetch import CACHE

from .corpus import Corpus
from .results import Row, report
from .setting import Setting

TOKENIZERS = {
    "WordPiece, BERT (paraphrase-MiniLM-L3-v2)": CACHE / "paraphrase-MiniLM-L3-v2",
    "Unigram, XLM-R (multilingual-e5-small)": CACHE / "multilingual-e5-small-4bit",
    "BPE, Llama 2 (wordllama)": CACHE / "wordllama-l2-supercat-256",
}
NUM_TEXTS, ROUNDS, TEXTS_PER_CALL = 400, 8, 64


def tokens_per_core_s(encode: Callable[[], int], rounds: int = ROUNDS) -> float:
    """Tokens per second of CPU time, all threads included, in the best round: other programs only slow rounds down."""
    best = 0.0
    for _ in range(rounds + 1):
        start_s = time.process_time()
        num_tokens = encode()
        best = max(best, num_tokens / (time.process_time() - start_s))
    return best


def speeds(path: Path, short: list[str], mixed: list[str]) -> dict[str, float]:
    """Tokens per second and core: short texts one at a time, mixed texts in lists."""
    vocab_size = tokenizers.Tokenizer.from_file(str(path)).get_vocab_size()
    tokenizer = Tokenizer(path, 512, vocab_size)

    def encode(texts: list[str], texts_per_call: int) -> int:
        calls = range(0, len(texts), texts_per_call)
        sequences = [s for i in calls for s in tokenizer.encode(texts[i : i + texts_per_call])]
        return sum(sequence.num_tokens for sequence in sequences)

    return {
        "short": tokens_per_core_s(lambda: encode(short, 1)),
        "mixed": tokens_per_core_s(lambda: encode(mixed, TEXTS_PER_CALL)),
    }


def rows_of(paths: dict[str, Path], corpus: Corpus, num_texts: int = NUM_TEXTS) -> list[Row]:
    """A row for each tokenizer and kind of texts."""
    short, mixed = corpus.short(num_texts), corpus.mixed(num_texts)
    return [
        Row(f"tokenization, {name}, {kind}, tokens/s per core", speed, "{:,.0f}")
        for name, path in paths.items()
        for kind, speed in speeds(path, short, mixed).items()
    ]


def run(setting: Setting) -> list[Row]:
    """Measure the tokenizers of the published checkpoints that are there."""
    paths = {name: folder / "tokenizer.json" for name, folder in TOKENIZERS.items()}
    there = {name: path for name, path in paths.items() if path.is_file()}
    rows = rows_of(there, setting.corpus, setting.count(NUM_TEXTS))
    report("tokenization", setting.about(), {row.name: round(row.value) for row in rows}, rows)
    return rows


if __name__ == "__main__":
    given = {name: Path(path) for name, _, path in (argument.partition("=") for argument in sys.argv[1:])}
    base = tokenizers.Tokenizer.from_file(str(CACHE / "paraphrase-MiniLM-L3-v2" / "tokenizer.json"))
    report("tokenization", {}, {}, rows_of(given, Corpus(base)))
