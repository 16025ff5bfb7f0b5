"""sentence_bert_config.json, or one of its six older names: settings of sentence-transformers' Transformer module.

As in sentence_transformers.base.modules.Transformer.load_config, the first non-empty file is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from openbei.build.json_file import read_optional
from openbei.errors import CheckpointError

FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""File names in order of precedence."""

OLDER_KEYS = {"model_args": "model_kwargs", "tokenizer_args": "processor_kwargs", "config_args": "config_kwargs"}
"""Key of versions 3 to 5.3, which takes precedence -> current key."""

HUB_KEYS = (
    "trust_remote_code",
    "token",
    "cache_dir",
    "revision",
    "local_files_only",
    "subfolder",
    "code_revision",
    "use_fast",
)
"""Keys of *_kwargs for loading files. They have no effect."""

_TEXT = {"max_length", "add_special_tokens", "logits_to_keep", "padding", "truncation", "return_tensors"}
_ALLOWED: dict[str, tuple[object, ...]] = {"padding": (True, "longest"), "truncation": (True, "longest_first")}

Length = Annotated[int, msgspec.Meta(ge=1)]


class _Modality(msgspec.Struct, frozen=True):
    """An entry of modality_config."""

    method: str
    method_output_name: str | None
    format: str = "auto"


class _File(msgspec.Struct, frozen=True):
    """The file. Mappings are keyword arguments that are passed on."""

    max_seq_length: Length | None = None
    do_lower_case: bool = False
    transformer_task: str | None = None
    module_output_name: str | None = None
    modality_config: dict[str, _Modality] | None = None
    model_kwargs: dict[str, Any] = {}
    processor_kwargs: dict[str, Any] = {}
    config_kwargs: dict[str, Any] = {}
    processing_kwargs: dict[str, dict[str, Any]] = {}
    tokenizer_name_or_path: None = None


@dataclass(frozen=True, slots=True)
class SentenceConfig:
    """The settings in the file, or sentence-transformers' defaults.

    `tokenizer` and `config` override tokenizer_config.json and config.json. `message_format` is the format of messages
    for the chat template, "flat", "structured" or "auto"; None if texts are not rendered.
    """

    name: str = FILES[0]
    max_seq_length: int | None = None
    lowercases: bool = False
    transformer_task: str | None = None
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    adds_special_tokens: bool = True
    message_format: str | None = None
    chat_template: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_rendered(self) -> bool:
        """Whether texts are rendered by the chat template."""
        return self.message_format is not None


def sentence_config_file(root: Path) -> Path | None:
    """The file to read in the folder of a Transformer module, or None."""
    return next((path for path in (root / name for name in FILES) if read_optional(path, dict[str, Any])), None)


def read_sentence_config(root: Path) -> SentenceConfig:
    """Read the file. Raises CheckpointError, also for unsupported settings that would change the output."""
    path = sentence_config_file(root)
    if path is None:
        return SentenceConfig()
    raw = read_optional(path, dict[str, Any])
    renamed = {
        OLDER_KEYS.get(key, key): value for key, value in sorted(raw.items(), key=lambda item: item[0] in OLDER_KEYS)
    }
    try:
        file = msgspec.convert({key: value for key, value in renamed.items() if value is not None}, _File)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _check_model_kwargs(path, file.model_kwargs)
    text = _text_kwargs(path, file.processing_kwargs)
    tokenizer = {key: value for key, value in file.processor_kwargs.items() if key not in HUB_KEYS}
    limits = [
        limit for limit in (tokenizer.pop("model_max_length", file.max_seq_length), text.get("max_length")) if limit
    ]
    message = _message_format(path, file.modality_config)
    return SentenceConfig(
        name=path.name,
        max_seq_length=min(limits, default=None),
        lowercases=file.do_lower_case,
        transformer_task=file.transformer_task,
        tokenizer=tokenizer,
        config={key: value for key, value in file.config_kwargs.items() if key not in (*HUB_KEYS, "use_cache")},
        adds_special_tokens=text.get("add_special_tokens", True) is not False,
        message_format=message,
        chat_template=file.processing_kwargs.get("chat_template", {}),
    )


def _message_format(path: Path, modalities: Mapping[str, _Modality] | None) -> str | None:
    """The format of messages, or None if texts are not rendered."""
    for name, modality in (modalities or {}).items():
        if name in ("text", "message") and modality.method != "forward":
            raise CheckpointError(f"{path}: modality_config.{name}.method is {modality.method!r}; supported: forward")
    return modalities["message"].format if modalities and "message" in modalities else None


def _check_model_kwargs(path: Path, model_kwargs: Mapping[str, Any]) -> None:
    without_effect = {
        *HUB_KEYS,
        "torch_dtype",
        "dtype",
        "attn_implementation",
        "device_map",
        "add_pooling_layer",
        "low_cpu_mem_usage",
        "use_safetensors",
        "variant",
        "file_name",
        "provider",
        "export",
    }
    if unsupported := sorted(model_kwargs.keys() - without_effect):
        raise CheckpointError(f"{path}: model_kwargs has {', '.join(unsupported)}, which is not supported")


def _text_kwargs(path: Path, processing_kwargs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The arguments of the tokenizer: `common` and `text` of processing_kwargs."""
    text = {**processing_kwargs.get("common", {}), **processing_kwargs.get("text", {})}
    for key, value in text.items():
        if key not in _TEXT or value not in _ALLOWED.get(key, (value,)):
            raise CheckpointError(f"{path}: processing_kwargs.text.{key} is {value!r}, which is not supported")
    return text
