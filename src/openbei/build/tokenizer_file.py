"""The tokenizer of a checkpoint, checked against the model and rid of its own truncation and padding."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer, normalizers, processors

from openbei.build.json_file import read_json, read_optional
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class ConvertedTokenizer:
    """The bytes of the engine's tokenizer.json, the id of the unknown token, and what was decided.

    `has_token_types` tells whether the model tells the texts of a pair apart by token types.
    """

    content: bytes
    unk_token_id: int | None
    has_token_types: bool
    decisions: tuple[Decision, ...]


class _AddedToken(msgspec.Struct, frozen=True):
    """How older versions of transformers write a special token."""

    content: str


class _TokenizerConfig(msgspec.Struct, frozen=True):
    """tokenizer_config.json."""

    unk_token: str | _AddedToken | None = None
    pad_token: str | _AddedToken | None = None
    eos_token: str | _AddedToken | None = None
    add_bos_token: bool | None = None
    add_eos_token: bool | None = None
    model_input_names: list[str] | None = None


def read_tokenizer(root: Path) -> Tokenizer:
    """The tokenizer of a checkpoint as it is. Raises CheckpointError where there is no tokenizer.json, or a bad one."""
    path = root / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist; only fast tokenizers are read",
            hint="save it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from error


def convert_tokenizer(root: Path, spec: ModelSpec, lowercases: bool) -> ConvertedTokenizer:
    """Make the engine's tokenizer of the checkpoint's.

    `lowercases` puts sentence-transformers' own lower-casing in front. For a table nothing is put around a text. Added
    tokens that the model has no vector for are dropped, as that of images in EmbeddingGemma. Raises CheckpointError
    where there is no tokenizer.json, or it can give other token ids that the model has no vector for.
    """
    path = root / "tokenizer.json"
    tokenizer = read_tokenizer(root)
    decisions = []
    added = tokenizer.get_added_tokens_decoder()
    if beyond := {token_id: added[token_id].content for token_id in added if token_id >= spec.vocab_size}:
        tokenizer = _without(path, beyond)
        decisions.append(
            Decision("tokenizer", f"without {', '.join(beyond.values())}", "the model has no vector for it")
        )
    _check_ids(tokenizer, path, spec)
    said = read_optional(root / "tokenizer_config.json", _TokenizerConfig)
    if spec.is_table:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
        reason = "sentence-transformers adds none for a table"
        decisions.append(Decision("tokenizer", "no special tokens around a text", reason))
    elif tokenizer.num_special_tokens_to_add(is_pair=False) < bool(said.add_bos_token) + bool(said.add_eos_token):
        reason = "tokenizer.json says what goes around a text, for transformers 5 too"
        decisions.append(Decision("tokenizer", "add_bos_token and add_eos_token not followed", reason))
    if tokenizer.truncation or tokenizer.padding:
        decisions.append(Decision("tokenizer", "own truncation and padding dropped", "the server does both its way"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if lowercases:
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        decisions.append(Decision("tokenizer", "lower-cases first", "do_lower_case of sentence_bert_config.json"))
    has_token_types = spec.type_vocab_size > 1
    if has_token_types and said.model_input_names and "token_type_ids" not in said.model_input_names:
        has_token_types = False
        decisions.append(Decision("tokenizer", "all token types are 0", "model_input_names of tokenizer_config.json"))
    return ConvertedTokenizer(
        tokenizer.to_str().encode(), _unk_token_id(tokenizer, said.unk_token), has_token_types, tuple(decisions)
    )


def _without(path: Path, token_ids: Collection[int]) -> Tokenizer:
    """The tokenizer of a file without some of its added tokens: their texts are tokenized as others are."""
    content = read_json(path, dict[str, Any])
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] not in token_ids]
    try:
        return Tokenizer.from_str(msgspec.json.encode(content).decode())
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from error


def _unk_token_id(tokenizer: Tokenizer, said: str | _AddedToken | None) -> int | None:
    """What tokenizer_config.json or the tokenizer's model says, or else what transformers' classes have by default."""
    names = (_content(said), getattr(tokenizer.model, "unk_token", None), "[UNK]", "<unk>")
    ids = (tokenizer.token_to_id(name) for name in names if name)
    return next((token_id for token_id in ids if token_id is not None), None)


def pad_token_id(tokenizer: Tokenizer, root: Path) -> int | None:
    """The id of the token that tokenizer_config.json pads with, or else ends texts with."""
    said = read_optional(root / "tokenizer_config.json", _TokenizerConfig)
    name = _content(said.pad_token) or _content(said.eos_token)
    token_id: int | None = tokenizer.token_to_id(name) if name else None
    return token_id


def _content(token: str | _AddedToken | None) -> str | None:
    return token.content if isinstance(token, _AddedToken) else token


def _check_ids(tokenizer: Tokenizer, path: Path, spec: ModelSpec) -> None:
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1], default=("", -1))
    if highest >= spec.vocab_size:
        raise CheckpointError(
            f"{path}: token {token!r} has id {highest}; the model's vocabulary ends at {spec.vocab_size - 1}"
        )
    probe = tokenizer.encode("a")
    if max(probe.ids, default=0) >= spec.vocab_size:
        raise CheckpointError(
            f"{path}: a text gets the tokens {probe.ids}; the vocabulary ends at {spec.vocab_size - 1}"
        )
    if not probe.ids or any(probe.type_ids):
        raise CheckpointError(f"{path}: a single text has the token types {probe.type_ids}; they must all be 0")
