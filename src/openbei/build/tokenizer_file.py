"""The tokenizer of a checkpoint, checked against the model and rid of its own truncation and padding."""

from pathlib import Path

from tokenizers import Tokenizer, normalizers

from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.spec import ModelSpec


def convert_tokenizer(path: Path, spec: ModelSpec, lowercases: bool) -> tuple[bytes, tuple[Decision, ...]]:
    """The bytes of the engine's tokenizer.json, and what was decided.

    `lowercases` puts sentence-transformers' own lower-casing in front. Raises CheckpointError where there is no
    tokenizer.json, or it can give token ids that the model has no vector for.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist; only fast tokenizers are read",
            hint="save it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from error
    _check_ids(tokenizer, path, spec)
    decisions = []
    if tokenizer.truncation or tokenizer.padding:
        decisions.append(Decision("tokenizer", "own truncation and padding dropped", "the server does both its way"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if lowercases:
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        decisions.append(Decision("tokenizer", "lower-cases first", "do_lower_case of sentence_bert_config.json"))
    return tokenizer.to_str().encode(), tuple(decisions)


def _check_ids(tokenizer: Tokenizer, path: Path, spec: ModelSpec) -> None:
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1], default=("", -1))
    if highest >= spec.vocab_size:
        raise CheckpointError(
            f"{path}: token {token!r} has id {highest}; the model's vocabulary ends at {spec.vocab_size - 1}"
        )
    probe = tokenizer.encode("a")
    if not probe.ids or any(probe.type_ids):
        raise CheckpointError(f"{path}: a single text has the token types {probe.type_ids}; they must all be 0")
