"""The tokenizer of a checkpoint: as transformers 5 loads it, checked against the model, without its truncation."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec
from tokenizers import AddedToken, Tokenizer, normalizers, processors

from openbei.build.json_file import read_json
from openbei.build.sentence_config import SentenceConfig
from openbei.build.tokenizer_classes import CLASSES, PLAIN, Rebuilt, class_of
from openbei.build.tokenizer_settings import CONFIG, NAMED, Special, TokenizerSettings, read_settings, text_of
from openbei.config import Decision
from openbei.errors import CheckpointError
from openbei.panics import panics_as
from openbei.spec import ModelSpec

T = TypeVar("T")

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """A tokenizer with its settings; `direction` is the side on which texts are cut, `model_inputs` what it gives."""

    tokenizer: Tokenizer
    settings: TokenizerSettings
    direction: Side
    model_inputs: tuple[str, ...]
    decisions: tuple[Decision, ...]

    @property
    def max_length(self) -> float | None:
        """model_max_length, or max_len as older files call it; None without either. Raises CheckpointError."""
        values = self.settings.values
        length = values.get("model_max_length", values.get("max_len"))
        if length is None:
            return None
        if isinstance(length, bool) or not isinstance(length, int | float) or length < 1:
            raise CheckpointError(f"{CONFIG}: model_max_length is {length!r}; it must be a number of at least 1")
        return length


@dataclass(frozen=True, slots=True)
class ConvertedTokenizer:
    """The bytes of the engine's tokenizer.json, the id of the unknown token, and what was decided.

    `has_token_types` tells whether the model tells the texts of a pair apart by token types.
    """

    content: bytes
    unk_token_id: int | None
    has_token_types: bool
    truncation_direction: Side
    decisions: tuple[Decision, ...]


def read_tokenizer(root: Path) -> Tokenizer:
    """The tokenizer of a checkpoint as it is. Raises CheckpointError where there is no tokenizer.json, or a bad one."""
    path = root / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"{path} does not exist; only fast tokenizers are read",
            hint="save it with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        )
    try:
        with panics_as(CheckpointError, f"{path} is not a tokenizer"):
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.encode("a")
        return tokenizer
    except CheckpointError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from error


@panics_as(CheckpointError, "tokenizer.json cannot be used")
def load_tokenizer(
    root: Path, config: Mapping[str, Any], sentence: SentenceConfig, *, is_plain: bool = False
) -> LoadedTokenizer:
    """The tokenizer as AutoTokenizer loads it for a decoded config.json, with the settings of a sentence config.

    `is_plain` takes tokenizer.json alone. Raises CheckpointError where there is none, or settings are wrong or not
    implemented.
    """
    path, file = root / "tokenizer.json", read_tokenizer(root)
    if is_plain:
        return LoadedTokenizer(file, TokenizerSettings({}, {}, (), {}), "right", (), ())
    content = read_json(path, dict[str, Any])
    settings = read_settings(root, content, sentence.tokenizer)
    for key in ("split_special_tokens", "fix_mistral_regex"):
        if settings.get(key, bool, False):
            raise CheckpointError(f"{root / CONFIG}: {key} is true, which is not implemented")
    is_byte_level = '"ByteLevel"' in path.read_text("utf-8")
    name = class_of(config, settings.get("tokenizer_class", str), "auto_map" in settings.values, is_byte_level)
    rebuilt = CLASSES.get(name)
    decisions: list[Decision] = []
    if rebuilt is None or not _fits(rebuilt, content):
        if name not in PLAIN:
            why = f"transformers 5 makes another tokenizer of {path.name} where the class {name} has rules of its own"
            decisions.append(Decision("tokenizer", f"{path.name} as it is", why, is_warning=True))
        rebuilt, tokenizer = None, file
    else:
        settings = _with_defaults(settings, rebuilt)
        tokenizer = _made(path, rebuilt.build, content, settings)
        tokenizer.post_processor = file.post_processor
        if _differ(tokenizer, file):
            why = f"{name} rebuilds it from the vocabulary and {CONFIG}, as in transformers 5"
            decisions.append(Decision("tokenizer", f"normalizer and pre-tokenizer are not {path.name}'s", why))
    _made(path, _add_tokens, tokenizer, settings)
    if tokenizer.post_processor is None or settings.overridden & {"add_bos_token", "add_eos_token"}:
        tokenizer.post_processor = _made(path, _own_frame, tokenizer, settings)
    if rebuilt and rebuilt.frame:
        tokenizer.post_processor = _made(path, rebuilt.frame, tokenizer, settings)
    direction = settings.get("truncation_side", str) or (file.truncation or {}).get("direction", "right")
    if direction not in get_args(Side):
        raise CheckpointError(f"{root / CONFIG}: truncation_side is {direction!r}; it must be 'left' or 'right'")
    inputs = settings.get("model_input_names", list) or (rebuilt.model_inputs if rebuilt else ())
    return LoadedTokenizer(tokenizer, settings, direction, tuple(inputs), tuple(decisions))


@panics_as(CheckpointError, "tokenizer.json cannot be used")
def convert_tokenizer(
    root: Path, spec: ModelSpec, loaded: LoadedTokenizer, sentence: SentenceConfig
) -> ConvertedTokenizer:
    """Make the engine's tokenizer of the checkpoint's.

    For a table nothing is put around a text. Added tokens that the model has no vector for are dropped, as that of
    images in EmbeddingGemma. Raises CheckpointError where the tokenizer can give other token ids that the model has no
    vector for.
    """
    path, tokenizer, settings = root / "tokenizer.json", loaded.tokenizer, loaded.settings
    decisions = list(loaded.decisions)
    added = tokenizer.get_added_tokens_decoder()
    if beyond := {token_id: added[token_id].content for token_id in added if token_id >= spec.vocab_size}:
        tokenizer = _without(path, tokenizer, beyond)
        decisions.append(
            Decision("tokenizer", f"without {', '.join(beyond.values())}", "the model has no vector for it")
        )
    _check_ids(tokenizer, path, spec)
    if spec.is_table or not sentence.adds_special_tokens:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
        reason = "sentence-transformers adds none for a table" if spec.is_table else "processing_kwargs says so"
        decisions.append(Decision("tokenizer", "no special tokens around a text", reason))
    else:
        decisions += _about_ends(tokenizer, settings)
    if tokenizer.truncation or tokenizer.padding:
        decisions.append(Decision("tokenizer", "own truncation and padding dropped", "the server does both its way"))
    if loaded.direction == "left":
        decisions.append(Decision("truncation", "on the left", "truncation_side, or direction in tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if sentence.lowercases and not _lowercases(tokenizer.normalizer):
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        decisions.append(Decision("tokenizer", "lower-cases first", f"do_lower_case of {sentence.name}"))
    has_token_types = spec.type_vocab_size > 1 and "token_type_ids" in loaded.model_inputs
    if spec.type_vocab_size > 1 and not has_token_types:
        why = "the tokenizer's class, or model_input_names of tokenizer_config.json, gives none"
        decisions.append(Decision("tokenizer", "all token types are 0", why))
    return ConvertedTokenizer(
        tokenizer.to_str().encode(), _unk_token_id(tokenizer, settings), has_token_types, loaded.direction,
        tuple(decisions),
    )  # fmt: skip


def _fits(rebuilt: Rebuilt, content: Mapping[str, Any]) -> bool:
    """Whether the file has what a class makes a tokenizer of."""
    model = content.get("model") or {}
    return isinstance(model.get("vocab"), rebuilt.vocabulary) and ("merges" in model or not rebuilt.needs_merges)


def _with_defaults(settings: TokenizerSettings, rebuilt: Rebuilt) -> TokenizerSettings:
    """The settings, with the class's own special tokens; one keeps its flags where only its text is given."""
    special: dict[str, Special] = {}
    for name in dict.fromkeys((*NAMED, *settings.special)):
        token, default = settings.special.get(name), rebuilt.names.get(name)
        if token is None and name in settings.values:
            continue
        if isinstance(token, str) and isinstance(default, AddedToken):
            token = AddedToken(token, **{key: getattr(default, key) for key in ("lstrip", "normalized", "special")})
        if token is not None or default is not None:
            special[name] = token if token is not None else default  # type: ignore[assignment]
    return replace(settings, special=special, extra=settings.extra or rebuilt.extra)


def _own_frame(tokenizer: Tokenizer, settings: TokenizerSettings) -> processors.PostProcessor:
    """What a tokenizer without a post-processor puts around texts: nothing, unless the sentence config says more."""
    wanted = {key for key in ("add_bos_token", "add_eos_token") if key in settings.overridden and settings.values[key]}
    tokens = {f"{end}_token": settings.special.get(f"{end}_token") for end in ("bos", "eos")}
    bos, eos = (text_of(token) if token and f"add_{key}" in wanted else None for key, token in tokens.items())
    single = " ".join(part for part in (bos and f"{bos}:0", "$A:0", eos and f"{eos}:0") if part)
    second = " ".join(part for part in (bos and f"{bos}:1", "$B:1", eos and f"{eos}:1") if part)
    ids = [(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((bos, eos)) if token]
    return processors.TemplateProcessing(single=single, pair=f"{single} {second}", special_tokens=ids)


def _add_tokens(tokenizer: Tokenizer, settings: TokenizerSettings) -> None:
    """Add the tokens that only the settings name, in the order in which TokenizersBackend does."""
    there = tokenizer.get_added_tokens_decoder().values()
    flags = {repr(token) for token in there}
    new: list[Special] = [token for _, token in sorted(settings.added.items()) if repr(token) not in flags]
    known = {token.content for token in there} | {text_of(token) for token in new}
    for token in (*settings.special.values(), *settings.extra):
        if text_of(token) not in known:
            known.add(text_of(token))
            new.append(token)
    named = {text_of(token) for token in settings.special.values()}
    for token in new:
        if isinstance(token, AddedToken) and token.content in named:
            token.special = True
    tokenizer.add_tokens([AddedToken(token, special=True) if isinstance(token, str) else token for token in new])


def _about_ends(tokenizer: Tokenizer, settings: TokenizerSettings) -> list[Decision]:
    """What is said of add_bos_token and add_eos_token, where tokenizer.json puts no such token at that end."""
    framed, lacking = tokenizer.encode("a").ids, []
    for key, name, at in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
        token = settings.special.get(name)
        token_id = tokenizer.token_to_id(text_of(token)) if token is not None else None
        if settings.values.get(key) is True and token is not None and framed[at : at + 1 or None] != [token_id]:
            lacking.append(f"{key} not followed: no {text_of(token)} is {'put first' if at == 0 else 'appended'}")
    costs = "transformers 5 goes by tokenizer.json; a model trained with it by version 4 loses accuracy"
    return [Decision("tokenizer", what, costs, is_warning=True) for what in lacking]


def _differ(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers have other normalizers or pre-tokenizers; these show themselves as JSON."""
    parts = [(a.normalizer, a.pre_tokenizer) for a in (one, other)]
    states = [[part.__getstate__() if part else None for part in both] for both in parts]
    return bool(states[0] != states[1])


def _lowercases(normalizer: normalizers.Normalizer | None) -> bool:
    """Whether sentence-transformers finds lower-casing in a normalizer, and adds none."""
    state = msgspec.json.decode(normalizer.__getstate__()) if normalizer else {}
    return any(step.get("type") == "Lowercase" for step in (state, *state.get("normalizers", ())))


def _made(path: Path, function: Callable[..., T], *given: object) -> T:
    try:
        return function(*given)
    except CheckpointError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} and {CONFIG} make no tokenizer: {error}") from error


def _without(path: Path, tokenizer: Tokenizer, token_ids: Collection[int]) -> Tokenizer:
    """A tokenizer without some of its added tokens: their texts are tokenized as others are."""
    content = msgspec.json.decode(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] not in token_ids]
    return _made(path, Tokenizer.from_str, msgspec.json.encode(content).decode())


def _unk_token_id(tokenizer: Tokenizer, settings: TokenizerSettings) -> int | None:
    """What the settings or the tokenizer's model say, or else what transformers' classes have by default."""
    said = settings.special.get("unk_token")
    names = (said and text_of(said), getattr(tokenizer.model, "unk_token", None), "[UNK]", "<unk>")
    ids = (tokenizer.token_to_id(name) for name in names if name)
    return next((token_id for token_id in ids if token_id is not None), None)


def pad_token_id(loaded: LoadedTokenizer) -> int | None:
    """The id of the token that a tokenizer pads with, or else ends texts with."""
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
    probe = tokenizer.encode("a")
    if max(probe.ids, default=0) >= spec.vocab_size:
        raise CheckpointError(
            f"{path}: a text gets the tokens {probe.ids}; the vocabulary ends at {spec.vocab_size - 1}"
        )
    if not probe.ids or any(probe.type_ids):
        raise CheckpointError(f"{path}: a single text has the token types {probe.type_ids}; they must all be 0")
