"""Settings of a tokenizer outside of tokenizer.json, merged as in transformers 5.

`tokenizer_args` of the sentence-transformers config override tokenizer_config.json. special_tokens_map.json,
added_tokens.json and the added tokens of tokenizer.json are read only if tokenizer_config.json has no
`added_tokens_decoder` (PreTrainedTokenizerBase._from_pretrained).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from openbei.build.json_file import read_json, read_optional
from openbei.errors import CheckpointError

CONFIG = "tokenizer_config.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Named special tokens of every tokenizer class, in the order in which they are added."""

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

Special = str | AddedToken


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """The merged settings: values by key, special tokens by name, unnamed special tokens, and added tokens by id.

    `overridden` are the keys set by the sentence-transformers config.
    """

    values: Mapping[str, Any]
    special: Mapping[str, Special]
    extra: tuple[Special, ...]
    added: Mapping[int, AddedToken]
    overridden: frozenset[str] = field(default=frozenset())

    def get(self, key: str, kind: type, default: Any = None) -> Any:  # noqa: ANN401
        """A value, or `default` if it is missing or null. Raises CheckpointError unless it is a `kind`."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise CheckpointError(f"{CONFIG}: {key} is {value!r}; it must be {kind.__name__}")
        return value


def read_settings(root: Path, content: Mapping[str, Any], overrides: Mapping[str, Any]) -> TokenizerSettings:
    """Read the settings of a checkpoint; `content` is the decoded tokenizer.json. Raises CheckpointError."""
    path = root / CONFIG
    values: dict[str, Any] = {**read_optional(path, dict[str, Any]), **overrides}
    if values.get("additional_special_tokens") is not None and not values.get("extra_special_tokens"):
        values["extra_special_tokens"] = values.pop("additional_special_tokens")
    added: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in values:
        decoder = values["added_tokens_decoder"]
        if not isinstance(decoder, dict):
            raise CheckpointError(f"{path}: added_tokens_decoder is {decoder!r}; it must be a mapping")
        added = {_id(path, token_id): _added(path, token) for token_id, token in decoder.items()}
    else:
        _add_special_tokens_map(root, values, overrides)
        added = _added_tokens(root, values)
        added |= {
            _id(path, token.get("id")): _added(root / "tokenizer.json", token)
            for token in content.get("added_tokens") or []
        }
    tokens = {key: values.get(key) for key in NAMED}
    tokens |= {key: value for key, value in values.items() if key.endswith("_token") and _is_token(value)}
    if isinstance(model_specific := values.get("extra_special_tokens"), dict):
        tokens |= model_specific
    special = {key: _special(path, value) for key, value in tokens.items() if value is not None}
    added_by_text = {token.content: token for token in added.values()}
    special |= {key: added_by_text.get(str(token), token) for key, token in special.items() if key in NAMED}
    extra = tuple(_special(path, token) for token in _unnamed(path, values))
    return TokenizerSettings(values, special, extra, added, frozenset(overrides))


def text_of(token: Special) -> str:
    """The text of a special token."""
    return token if isinstance(token, str) else token.content


def _add_special_tokens_map(root: Path, values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Merge special_tokens_map.json into `values`; it overrides all but `overrides`."""
    path = root / "special_tokens_map.json"
    for key, value in read_optional(path, dict[str, Any]).items():
        if overrides.get(key):
            continue
        if key == "extra_special_tokens" and isinstance(value, list) and isinstance(values.get(key), list | None):
            values[key] = [*(values.get(key) or []), *value]
        else:
            values[key] = {**value, "special": True} if isinstance(value, dict) and "content" in value else value


def _added_tokens(root: Path, values: Mapping[str, Any]) -> dict[int, AddedToken]:
    """The tokens of added_tokens.json, by id."""
    path = root / "added_tokens.json"
    if not path.is_file():
        return {}
    candidates = [*map(values.get, NAMED), *_unnamed(path, values)]
    special = {str(_special(path, value)) for value in candidates if _is_token(value)}
    return {
        token_id: AddedToken(text, normalized=text not in special, special=text in special)
        for text, token_id in read_json(path, dict[str, int]).items()
    }


def _unnamed(path: Path, values: Mapping[str, Any]) -> list[Any]:
    """The unnamed special tokens, from the newer key if it has a non-empty list, else from the older key."""
    key = "extra_special_tokens"
    if not values.get(key) or isinstance(values[key], dict):
        key = "additional_special_tokens"
    tokens = values.get(key) or []
    if not isinstance(tokens, list):
        raise CheckpointError(f"{path}: {key} is {tokens!r}; it must be a list")
    return tokens


def _is_token(value: object) -> bool:
    return isinstance(value, str | AddedToken) or (isinstance(value, dict) and "content" in value)


def _special(path: Path, value: object) -> Special:
    if isinstance(value, str | AddedToken):
        return value
    if isinstance(value, dict):
        return _added(path, value)
    raise CheckpointError(f"{path}: a special token is {value!r}; it must be a string or an object with `content`")


def _added(path: Path, value: object) -> AddedToken:
    if isinstance(value, dict) and isinstance(text := value.get("content"), str):
        flags = {flag: value[flag] for flag in _FLAGS if isinstance(value.get(flag), bool)}
        return AddedToken(text, **flags)
    raise CheckpointError(f"{path}: an added token is {value!r}; it must be an object with `content`")


def _id(path: Path, value: object) -> int:
    try:
        return int(str(value))
    except ValueError as error:
        raise CheckpointError(f"{path}: the id of an added token is {value!r}") from error
