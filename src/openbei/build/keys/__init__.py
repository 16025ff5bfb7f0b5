"""Check that no key in a checkpoint's JSON files is silently ignored.

Each file has a table (`openbei.build.keys.table`) of the keys that are read, those that do not affect inference, and
those that are refused. Unknown keys and unknown files are warnings.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from openbei.build.architecture import architecture_of
from openbei.build.json_file import read_json
from openbei.build.keys import sentence, tokenizer
from openbei.build.keys.config import config_keys
from openbei.build.keys.table import Keys, check_mapping, reason_by_key
from openbei.build.modules import TRANSFORMERS
from openbei.build.router import ROUTER_FILES, ROUTERS, Module, read_modules, resolve_routes
from openbei.build.sentence_config import FILES as SENTENCE_CONFIGS
from openbei.config import Decision
from openbei.families import STATIC_MODULES, architecture_prefix

MODEL_FILES: dict[str, Keys] = {
    "modules.json": sentence.MODULES,
    "config_sentence_transformers.json": sentence.MODEL,
}
"""Files in the root folder of a checkpoint."""

TOKENIZER_FILES: dict[str, Keys] = {
    "tokenizer.json": tokenizer.TOKENIZER,
    "tokenizer_config.json": tokenizer.TOKENIZER_CONFIG,
    "special_tokens_map.json": tokenizer.SPECIAL_TOKENS_MAP,
}
TRANSFORMER_FILES: dict[str, Keys] = {
    **TOKENIZER_FILES,
    **dict.fromkeys(SENTENCE_CONFIGS, sentence.TRANSFORMER),
    "added_tokens.json": tokenizer.ADDED_TOKENS,
    "processor_config.json": tokenizer.PROCESSOR_CONFIG,
    "model.safetensors.index.json": tokenizer.SHARD_INDEX,
}
"""Files in the folder of a transformer, besides config.json, whose keys depend on the architecture."""

WITHOUT_EFFECT: dict[str, str] = reason_by_key(
    {
        "text generation only": "generation_config.json",
        "images and sound only": "preprocessor_config.json video_preprocessor_config.json",
        "adapters are checked separately": "adapter_config.json",
        "the vocabulary is in tokenizer.json": "vocab.json tokenizer.model.json",
        "training only": (
            "all_results.json data_config.json eval_results.json mergekit_config.json metrics.json test_results.json "
            "train_results.json trainer_state.json training_args.json"
        ),
        "describes the checkpoint": "eval_res*.json result*.json similarity_evaluation*.json model_card*.json",
        "weights of other libraries": (
            "flax_model.msgpack.index.json ort_config.json pytorch_model.bin.index.json quantize_config.json "
            "tf_model.h5.index.json"
        ),
    }
)
"""File name pattern -> why the file is not read."""


def check_keys(folder: Path, route: str | None = None) -> Iterator[Decision]:
    """Yield a warning for each unknown key and each unknown JSON file of a checkpoint.

    Raises CheckpointError for a refused value.
    """
    modules = resolve_routes(folder, route)[0] if (folder / "modules.json").exists() else []
    tables: dict[Path, dict[str, Keys]] = {folder: dict(MODEL_FILES)}
    for router in (module for module in read_modules(folder) if module.kind in ROUTERS):
        tables.setdefault(router.folder, {}).update(dict.fromkeys(ROUTER_FILES, sentence.ROUTER))
    for module in modules or [Module(TRANSFORMERS[0], folder)]:
        tables.setdefault(module.folder, {}).update(_module_tables(module))
    for subfolder, table_of_file in tables.items():
        yield from _check_folder(folder, subfolder, table_of_file)


def _module_tables(module: Module) -> dict[str, Keys]:
    if module.kind in TRANSFORMERS:
        config = read_json(module.folder / "config.json", dict[str, Any])
        prefix = architecture_prefix(architecture_of(config), config)
        return {**TRANSFORMER_FILES, "config.json": config_keys(prefix, config)}
    tokenizer_files = TOKENIZER_FILES if module.kind in STATIC_MODULES else {}
    return {**tokenizer_files, "config.json": sentence.MODULE_CONFIGS[module.kind]}


def _check_folder(folder: Path, subfolder: Path, table_of_file: Mapping[str, Keys]) -> Iterator[Decision]:
    for path in sorted(subfolder.glob("*.json")):
        name = path.relative_to(folder).as_posix()
        if keys := table_of_file.get(path.name):
            yield from check_mapping(name, _content(path), keys)
        elif not any(path.match(pattern) for pattern in WITHOUT_EFFECT):
            yield Decision(name, "not read", "unknown file; the model's output may depend on it", is_warning=True)


def _content(path: Path) -> object:
    """Decode a JSON file; tokenizer.json without its `model`, which is large."""
    if path.name != "tokenizer.json":
        return read_json(path, Any)
    raw = read_json(path, dict[str, msgspec.Raw])
    return {key: msgspec.json.decode(value) for key, value in raw.items() if key != "model"}
