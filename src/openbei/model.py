"""The public Python API: a model in this process, opened by its name or path."""

from os import PathLike, fspath

from openbei import targets
from openbei.device import DeviceChoice
from openbei.open_model import OpenModel


class Model(OpenModel):
    """A model in this process, which several threads may use.

    `target` is a model id on the Hugging Face Hub, a folder with a Hugging Face checkpoint, an engine directory, a
    config.yaml, or the URL of an engine directory or a checkpoint. An engine directory is built in the cache if there
    is none or it is out of date. The environment variables of `bei` apply; arguments override them. Raises ConfigError,
    CheckpointError, StoreError, EngineDirError and BackendError.

    `close`, or the end of a `with` block, frees the weights.
    """

    def __init__(
        self,
        target: str | PathLike[str],
        *,
        device: DeviceChoice | None = None,
        backend: str | None = None,
        isa: str | None = None,
        threads: int | None = None,
    ) -> None:
        environment = targets.read_environment(fspath(target))
        targets.preload(environment, device=device, backend=backend)
        engine_dir = targets.engine_dir_of(fspath(target), environment, device=device, backend=backend)
        engine = targets.load(engine_dir, environment, device=device, backend=backend, isa=isa, threads=threads)
        super().__init__(engine_dir, engine)
