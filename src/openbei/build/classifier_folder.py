"""Conversion of a generative reranker to a checkpoint folder with a classifier, which transformers can load."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from openbei.atomic_folder import rename_and_sync, sync_files, temporary_folder
from openbei.build.chat_template import FILE as CHAT_TEMPLATE
from openbei.build.json_file import read_json
from openbei.build.lm_head import AnswerTokens, find_answer_tokens
from openbei.build.modules import read_chain
from openbei.build.sentence_config import FILES as SENTENCE_FILES
from openbei.build.sentence_config import SentenceConfig, sentence_config_file
from openbei.build.stored import SINGLE_FILE, read_checkpoint
from openbei.build.tokenizer_file import load_tokenizer, pad_token_id
from openbei.checkpoints import fetch_checkpoint
from openbei.config import Environment
from openbei.errors import CheckpointError
from openbei.safetensors_file import Array, LazyTensor, file_bytes, write_tensors
from openbei.truss import CheckpointRepository

COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    CHAT_TEMPLATE,
    "config_sentence_transformers.json",
)
"""Files copied unchanged, if they exist: those of the tokenizer, and the prompts of sentence-transformers."""

TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"

METADATA = {"format": "pt"}
"""Metadata that transformers requires in safetensors files."""


def convert_lm_head(
    repository: CheckpointRepository,
    out: Path,
    tokens: Sequence[str] | None = None,
    *,
    environment: Environment,
    progress: Callable[[str, int, int], None] = lambda step, done, total: None,
) -> AnswerTokens:
    """Fetch a generative reranker and write its classifier; see `write_classifier`. Also raises DownloadError."""
    folder = fetch_checkpoint(repository, environment, progress=lambda done, total: progress("fetch", done, total))
    return write_classifier(folder, out, tokens, progress=lambda done, total: progress("write", done, total))


def write_classifier(
    folder: Path,
    out: Path,
    tokens: Sequence[str] | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AnswerTokens:
    """Write the classifier of a generative reranker to `out`, atomically, and return the tokens that became labels.

    Tensors keep their dtype and are written one at a time. `tokens` None are those of the checkpoint or its family.
    `progress` is called with bytes written and bytes in total. Raises CheckpointError, also if `out` exists, and
    OSError if it cannot be written.
    """
    if out.exists():
        raise CheckpointError(f"{out} already exists", hint="choose another folder, or remove it")
    chain = read_chain(folder)
    config = read_json(chain.root / "config.json", dict[str, Any])
    answer_tokens = find_answer_tokens(chain, config, tokens)
    tensors = {name: _lazy(tensor) for name, tensor in answer_tokens.tensors(read_checkpoint(chain.root)).items()}
    config = answer_tokens.config(config)
    if config.get("pad_token_id") is None:  # transformers needs it to find the last token of each text in a batch
        config["pad_token_id"] = pad_token_id(load_tokenizer(chain.root, config, SentenceConfig()))
    out.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(out) as partial_folder:
        for file in (source / name for source in dict.fromkeys([folder, chain.root]) for name in COPIED):
            if file.is_file():
                shutil.copyfile(file, partial_folder / file.name)
        _write_weights(partial_folder / SINGLE_FILE, tensors, progress)
        _write_json(partial_folder / "config.json", config)
        if chain.has_modules_json:
            _write_modules(chain.root, partial_folder)
        partial_folder.chmod(0o755)  # mkdtemp sets 0700
        sync_files(partial_folder)
        rename_and_sync(partial_folder, out)
    return answer_tokens


def _write_modules(root: Path, out: Path) -> None:
    """The files of a CrossEncoder, which only reads prompts and chat templates if there is a modules.json."""
    path = sentence_config_file(root)
    settings = read_json(path, dict[str, Any]) if path else {}
    changed = {"transformer_task": "sequence-classification", "module_output_name": "scores"}
    _write_json(out / SENTENCE_FILES[0], {**settings, **changed})
    _write_json(out / "modules.json", [{"idx": 0, "name": "0", "path": "", "type": TRANSFORMER}])


def _write_json(path: Path, content: object) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))


def _lazy(array: Array) -> LazyTensor:
    return LazyTensor(array.shape, array.dtype, lambda: array)


def _write_weights(path: Path, tensors: Mapping[str, LazyTensor], progress: Callable[[int, int], None]) -> None:
    needed = file_bytes(tensors, METADATA)
    with path.open("wb") as file:
        for done in write_tensors(file, tensors, METADATA):
            progress(done, needed)
