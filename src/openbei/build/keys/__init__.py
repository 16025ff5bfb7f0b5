"""Keys: nothing in a checkpoint's JSON files is ignored in silence.

Each file has one table (`openbei.build.keys.table`): the keys that are read, those known to be without effect on
inference, and those that are refused. What is in none of them, and a file that is in no table, is a warning.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from openbei.build.architecture import architecture_of
from openbei.build.json_file import read_json
from openbei.build.keys import sentence, tokenizer
from openbei.build.keys.config import config_keys
from openbei.build.keys.table import Keys, about_mapping, reasons
from openbei.build.modules import TRANSFORMERS
from openbei.build.router import ROUTER_FILES, ROUTERS, Module, listed, routed
from openbei.build.sentence_config import FILES as SENTENCE_CONFIGS
from openbei.config import Decision
from openbei.families import TABLES, beginning_of

MODEL_FILES: dict[str, Keys] = {
    "modules.json": sentence.MODULES,
    "config_sentence_transformers.json": sentence.MODEL,
}
"""In the folder of a checkpoint."""

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
"""In the folder of a transformer, beside config.json, whose keys follow from the architecture."""

WITHOUT_EFFECT: dict[str, str] = reasons({
    "text generation only": "generation_config.json",
    "images and sound only": "preprocessor_config.json video_preprocessor_config.json",
    "what it means for weights is looked at with them": "adapter_config.json",
    "tokenizer.json has the vocabulary": "vocab.json tokenizer.model.json",
    "training only": (
        "all_results.json data_config.json eval_results.json mergekit_config.json metrics.json test_results.json "
        "train_results.json trainer_state.json training_args.json"
    ),
    "describes the checkpoint": "eval_res*.json result*.json similarity_evaluation*.json model_card*.json",
    "weights of other libraries": (
        "flax_model.msgpack.index.json ort_config.json pytorch_model.bin.index.json quantize_config.json "
        "tf_model.h5.index.json"
    ),
})  # fmt: skip
"""Other files that a published checkpoint may have -> why they are not read."""


def about_keys(folder: Path, route: str | None = None) -> Iterator[Decision]:
    """A warning for each key, and each JSON file, of a checkpoint that nothing here knows.

    Raises CheckpointError for a value that would change the answers and is not followed.
    """
    modules = routed(folder, route)[0] if (folder / "modules.json").exists() else []
    known: dict[Path, dict[str, Keys]] = {folder: dict(MODEL_FILES)}
    for router in (module for module in listed(folder) if module.kind in ROUTERS):
        known.setdefault(router.folder, {}).update(dict.fromkeys(ROUTER_FILES, sentence.ROUTER))
    for module in modules or [Module(TRANSFORMERS[0], folder)]:
        known.setdefault(module.folder, {}).update(_files_of(module))
    for place, files in known.items():
        yield from _about_folder(folder, place, files)


def _files_of(module: Module) -> dict[str, Keys]:
    if module.kind in TRANSFORMERS:
        config = read_json(module.folder / "config.json", dict[str, Any])
        own = config_keys(beginning_of(architecture_of(config), config), config)
        return {**TRANSFORMER_FILES, "config.json": own}
    own = sentence.MODULE_CONFIGS[module.kind]
    return {**(TOKENIZER_FILES if module.kind in TABLES else {}), "config.json": own}


def _about_folder(folder: Path, place: Path, files: Mapping[str, Keys]) -> Iterator[Decision]:
    for path in sorted(place.glob("*.json")):
        name = path.relative_to(folder).as_posix()
        if keys := files.get(path.name):
            yield from about_mapping(name, _content(path), keys)
        elif not any(path.match(pattern) for pattern in WITHOUT_EFFECT):
            yield Decision(name, "not read", "an unknown file; the answers may depend on it", is_warning=True)


def _content(path: Path) -> object:
    """Decoded JSON; of tokenizer.json without its vocabulary, which is large."""
    if path.name != "tokenizer.json":
        return read_json(path, Any)
    raw = read_json(path, dict[str, msgspec.Raw])
    return {key: msgspec.json.decode(value) for key, value in raw.items() if key != "model"}
