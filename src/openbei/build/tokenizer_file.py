"""The tokenizer of a checkpoint: loaded as in transformers 5, and converted to the engine's tokenizer.json."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec
from tokenizers import AddedToken, Tokenizer, normalizers, processors

from openbei.build.json_file import read_json
from openbei.build.sentence_config import SentenceConfig
from openbei.build.tokenizer_classes import CLASSES, UNCHANGED, TokenizerClass, resolve_class
from openbei.build.tokenizer_growth import check_growth
from openbei.build.tokenizer_settings import CONFIG, NAMED, Special, TokenizerSettings, read_settings, text_of
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.panics import panics_as
from openbei.spec import ModelSpec

T = TypeVar("T")

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """A tokenizer with its settings; `direction` is the truncation side, `model_inputs` the names of its outputs."""

    tokenizer: Tokenizer
    settings: TokenizerSettings
    direction: Side
    model_inputs: tuple[str, ...]
    decisions: tuple[Decision, ...]

    @property
    def max_length(self) -> float | None:
        """model_max_length, or max_len of older files, or None. Raises CheckpointError."""
        values = self.settings.values
        length = values.get("model_max_length", values.get("max_len"))
        if length is None:
            return None
        if isinstance(length, bool) or not isinstance(length, int | float) or length < 1:
            raise CheckpointError(f"{CONFIG}: model_max_length is {length!r}; it must be at least 1")
        return length


@dataclass(frozen=True, slots=True)
class ConvertedTokenizer:
    """The engine's tokenizer.json and settings.

    `has_token_types` says whether the second text of a pair has token type 1.
    """

    content: bytes
    unk_token_id: int | None
    has_token_types: bool
    truncation_direction: Side
    decisions: tuple[Decision, ...]


def read_tokenizer(root: Path) -> Tokenizer:
    """Load tokenizer.json unchanged. Raises CheckpointError if it is missing or invalid."""
    path = root / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist; only fast tokenizers are supported",
            hint="save it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        )
    try:
        with panics_as(CheckpointError, f"{path} is not a valid tokenizer"):
            tokenizer = Tokenizer.from_file(str(path))
            check_growth(tokenizer, path)
            tokenizer.encode("a")
        return tokenizer
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f"{path} is not a valid tokenizer: {error}") from error


@panics_as(CheckpointError, "tokenizer.json cannot be used")
def load_tokenizer(
    root: Path, config: Mapping[str, Any], sentence: SentenceConfig, *, is_plain: bool = False
) -> LoadedTokenizer:
    """Load the tokenizer as AutoTokenizer does for a decoded config.json, with settings of a sentence config.

    `is_plain` ignores everything but tokenizer.json. Raises CheckpointError if the file is missing, or a setting is
    invalid or not supported.
    """
    path, file = root / "tokenizer.json", read_tokenizer(root)
    if is_plain:
        return LoadedTokenizer(file, TokenizerSettings({}, {}, (), {}), "right", (), ())
    content = read_json(path, dict[str, Any])
    settings = read_settings(root, content, sentence.tokenizer)
    for key in ("split_special_tokens", "fix_mistral_regex"):
        if settings.get(key, bool, False):
            raise CheckpointError(f"{root / CONFIG}: {key} is true, which is not supported")
    is_byte_level = '"ByteLevel"' in path.read_text("utf-8")
    name = resolve_class(config, settings.get("tokenizer_class", str), "auto_map" in settings.values, is_byte_level)
    tokenizer_class = CLASSES.get(name)
    decisions: list[Decision] = []
    if tokenizer_class is None or not _can_build(tokenizer_class, content):
        if name not in UNCHANGED:
            reason = f"transformers 5 may build a different tokenizer for the class {name}"
            decisions.append(Decision("tokenizer", f"{path.name} unchanged", reason, is_warning=True))
        tokenizer_class, tokenizer = None, file
    else:
        settings = _with_defaults(settings, tokenizer_class)
        tokenizer = _call(path, tokenizer_class.build, content, settings)
        tokenizer.post_processor = file.post_processor
        if _differ(tokenizer, file):
            reason = f"{name} builds them from its settings, as in transformers 5"
            decisions.append(Decision("tokenizer", f"normalizer and pre-tokenizer of {path.name} ignored", reason))
    _call(path, _add_tokens, tokenizer, settings)
    if tokenizer.post_processor is None or settings.overridden & {"add_bos_token", "add_eos_token"}:
        tokenizer.post_processor = _call(path, _bos_eos_post_processor, tokenizer, settings)
    if tokenizer_class and tokenizer_class.post_processor:
        tokenizer.post_processor = _call(path, tokenizer_class.post_processor, tokenizer, settings)
    direction = settings.get("truncation_side", str) or (file.truncation or {}).get("direction", "right")
    if direction not in get_args(Side):
        raise CheckpointError(f"{root / CONFIG}: truncation_side is {direction!r}; it must be 'left' or 'right'")
    inputs = settings.get("model_input_names", list) or (tokenizer_class.model_inputs if tokenizer_class else ())
    return LoadedTokenizer(tokenizer, settings, direction, tuple(inputs), tuple(decisions))


@panics_as(CheckpointError, "tokenizer.json cannot be used")
def convert_tokenizer(
    root: Path, spec: ModelSpec, loaded: LoadedTokenizer, sentence: SentenceConfig
) -> ConvertedTokenizer:
    """Convert the tokenizer for the engine.

    Static models get no special tokens. Added tokens outside the embedding table are dropped, such as EmbeddingGemma's
    image token. Raises CheckpointError for other token ids outside the embedding table.
    """
    path, tokenizer, settings = root / "tokenizer.json", loaded.tokenizer, loaded.settings
    decisions = list(loaded.decisions)
    added = tokenizer.get_added_tokens_decoder()
    if outside := {token_id: added[token_id].content for token_id in added if token_id >= spec.vocab_size}:
        tokenizer = _without(path, tokenizer, outside)
        names = ", ".join(outside.values())
        decisions.append(Decision("tokenizer", f"without {names}", "the id is outside the embedding table"))
    _check_ids(tokenizer, path, spec)
    if spec.is_static or not sentence.adds_special_tokens:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
        reason = "as in sentence-transformers' static modules" if spec.is_static else "processing_kwargs"
        decisions.append(Decision("tokenizer", "adds no special tokens", reason))
    else:
        decisions += _missing_special_tokens(tokenizer, settings)
    if tokenizer.truncation or tokenizer.padding:
        decisions.append(
            Decision("tokenizer", "truncation and padding removed", "the server truncates, and never pads")
        )
    if loaded.direction == "left":
        decisions.append(Decision("truncation", "left", "truncation_side, or direction in tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if sentence.lowercases and not _has_lowercase(tokenizer.normalizer):
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        decisions.append(Decision("tokenizer", "lowercases texts", f"do_lower_case of {sentence.name}"))
    has_token_types = spec.type_vocab_size > 1 and "token_type_ids" in loaded.model_inputs
    if spec.type_vocab_size > 1 and not has_token_types:
        reason = "no token_type_ids in model_input_names of tokenizer_config.json or the tokenizer class"
        decisions.append(Decision("tokenizer", "all token types are 0", reason))
    return ConvertedTokenizer(
        tokenizer.to_str().encode(),
        _unk_token_id(tokenizer, settings),
        has_token_types,
        loaded.direction,
        tuple(decisions),
    )


def _can_build(tokenizer_class: TokenizerClass, content: Mapping[str, Any]) -> bool:
    """Whether tokenizer.json has the vocabulary and merges that a class needs."""
    model = content.get("model") or {}
    has_vocabulary = isinstance(model.get("vocab"), tokenizer_class.vocabulary_type)
    return has_vocabulary and ("merges" in model or not tokenizer_class.needs_merges)


def _with_defaults(settings: TokenizerSettings, tokenizer_class: TokenizerClass) -> TokenizerSettings:
    """The settings with the class's default special tokens. A string in the settings keeps the default's flags."""
    special: dict[str, Special] = {}
    for name in dict.fromkeys((*NAMED, *settings.special)):
        token, default = settings.special.get(name), tokenizer_class.special_tokens.get(name)
        if token is None and name in settings.values:
            continue
        if isinstance(token, str) and isinstance(default, AddedToken):
            token = AddedToken(token, **{key: getattr(default, key) for key in ("lstrip", "normalized", "special")})
        if token is not None or default is not None:
            special[name] = token if token is not None else default  # type: ignore[assignment]
    return replace(settings, special=special, extra=settings.extra or tokenizer_class.extra)


def _bos_eos_post_processor(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    """A post-processor that adds BOS and EOS only if the sentence config sets add_bos_token and add_eos_token."""

    def token_of(name: str) -> str | None:
        token, key = settings.special.get(f"{name}_token"), f"add_{name}_token"
        return text_of(token) if token and key in settings.overridden and settings.values[key] else None

    bos, eos = token_of("bos"), token_of("eos")
    single = " ".join(part for part in (bos and f"{bos}:0", "$A:0", eos and f"{eos}:0") if part)
    second = " ".join(part for part in (bos and f"{bos}:1", "$B:1", eos and f"{eos}:1") if part)
    ids = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((bos, eos)) if token]
    return processors.TemplateProcessing(single=single, pair=f"{single} {second}", special_tokens=ids)


def _add_tokens(tokenizer: Tokenizer, settings: TokenizerSettings) -> None:
    """Add the settings' tokens that the tokenizer does not have, in the order of TokenizersBackend."""
    existing = tokenizer.get_added_tokens_decoder().values()
    existing_reprs = {repr(token) for token in existing}  # includes the flags
    new: list[Special] = [token for _, token in sorted(settings.added.items()) if repr(token) not in existing_reprs]
    known = {token.content for token in existing} | {text_of(token) for token in new}
    for token in (*settings.special.values(), *settings.extra):
        if text_of(token) not in known:
            known.add(text_of(token))
            new.append(token)
    special = {text_of(token) for token in settings.special.values()}
    for token in new:
        if isinstance(token, AddedToken) and token.content in special:
            token.special = True
    tokenizer.add_tokens([AddedToken(token, special=True) if isinstance(token, str) else token for token in new])


def _missing_special_tokens(tokenizer: Tokenizer, settings: TokenizerSettings) -> list[Decision]:
    """Warnings for add_bos_token and add_eos_token that the post-processor of tokenizer.json does not implement."""
    ids, missing = tokenizer.encode("a").ids, []
    for key, name, index in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
        token = settings.special.get(name)
        if settings.values.get(key) is True and token is not None:
            token_id = tokenizer.token_to_id(text_of(token))
            if not ids or ids[index] != token_id:
                missing.append(f"{key} has no effect: {text_of(token)} is not added")
    reason = "transformers 5 follows tokenizer.json; a model trained with version 4 may lose accuracy"
    return [Decision("tokenizer", decision, reason, is_warning=True) for decision in missing]


def _differ(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers have different normalizers or pre-tokenizers, by their JSON."""
    parts = [(each.normalizer, each.pre_tokenizer) for each in (one, other)]
    states = [[part.__getstate__() if part else None for part in both] for both in parts]
    return bool(states[0] != states[1])


def _has_lowercase(normalizer: normalizers.Normalizer | None) -> bool:
    """Whether sentence-transformers would find a Lowercase normalizer, and not add another."""
    state = msgspec.json.decode(normalizer.__getstate__()) if normalizer else {}
    return any(step.get("type") == "Lowercase" for step in (state, *state.get("normalizers", ())))


def _call(path: Path, function: Callable[..., T], *arguments: object) -> T:
    """Call a function of the tokenizers library, with its errors as CheckpointError."""
    try:
        return function(*arguments)
    except CheckpointError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(f"no tokenizer can be built from {path} and {CONFIG}: {error}") from error


def _without(path: Path, tokenizer: Tokenizer, token_ids: Collection[int]) -> Tokenizer:
    """The tokenizer without some added tokens, whose text is then tokenized normally."""
    content = msgspec.json.decode(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] not in token_ids]
    return _call(path, Tokenizer.from_str, msgspec.json.encode(content).decode())


def _unk_token_id(tokenizer: Tokenizer, settings: TokenizerSettings) -> int | None:
    """The id of the unknown token: that of the settings, of the tokenizer's model, or transformers' defaults."""
    unk_token = settings.special.get("unk_token")
    names = (unk_token and text_of(unk_token), getattr(tokenizer.model, "unk_token", None), "[UNK]", "<unk>")
    ids = (tokenizer.token_to_id(name) for name in names if name)
    return next((token_id for token_id in ids if token_id is not None), None)


def pad_token_id(loaded: LoadedTokenizer) -> int | None:
    """The id of the padding token, or else of EOS."""
    special = loaded.settings.special
    token = special.get("pad_token") or special.get("eos_token")
    token_id: int | None = loaded.tokenizer.token_to_id(text_of(token)) if token else None
    return token_id


def _check_ids(tokenizer: Tokenizer, path: Path, spec: ModelSpec) -> None:
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1], default=("", -1))
    if highest >= spec.vocab_size:
        raise CheckpointError(
            f"{path}: token {token!r} has id {highest}; the model's vocabulary ends at {spec.vocab_size - 1}"
        )
    encoding = tokenizer.encode("a")
    if max(encoding.ids, default=0) >= spec.vocab_size:
        raise CheckpointError(
            f"{path}: a text has the token ids {encoding.ids}; the model's vocabulary ends at {spec.vocab_size - 1}"
        )
    if not encoding.ids or any(encoding.type_ids):
        raise CheckpointError(f"{path}: a single text has the token types {encoding.type_ids}; they must all be 0")
