"""A loaded model: its name, manifest, prompts, tokenizer and engines."""

from threading import Lock
from types import TracebackType
from typing import TypeVar

from openbei.batch import Engine
from openbei.engine_dir import Manifest
from openbei.errors import UnavailableError
from openbei.prompts import Prompts
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import Task

M = TypeVar("M", bound="LoadedModel")


class LoadedModel:
    """A model, opened once and closed once. `name` and `prompts` are by default the manifest's.

    There is one engine, or one for each of several GPUs. A context manager. If several threads may call the
    engine, they must hold `lock`.
    """

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: Tokenizer,
        *engines: Engine,
        name: str | None = None,
        prompts: Prompts | None = None,
    ) -> None:
        self.manifest = manifest
        self.tokenizer = tokenizer
        self.name = name or manifest.model_name
        self.prompts = prompts or manifest.prompts
        self.lock = Lock()
        self._engines = engines

    @property
    def task(self) -> Task:
        """The model's task."""
        return self.manifest.spec.task

    @property
    def engine(self) -> Engine:
        """The engine, or the first one. Raises UnavailableError after `close`."""
        return self.engines[0]

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All engines. Raises UnavailableError after `close`."""
        if not self._engines:
            raise UnavailableError(f"{self.name} is closed")
        return self._engines

    def close(self) -> None:
        """Free the engines, after the batch that is running. May be called again."""
        with self.lock:
            self._engines = ()

    def __enter__(self: M) -> M:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.task}{'' if self._engines else ', closed'}>"
