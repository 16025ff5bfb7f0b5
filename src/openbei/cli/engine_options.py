"""Options for the engine: device, backend, and the options of the CPU backend."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from openbei import targets, variables
from openbei.batch import Engine
from openbei.cli.option_groups import Command, Option, add_grouped
from openbei.config import Environment
from openbei.device import DEVICE_CHOICES, DeviceChoice, device_choice

if TYPE_CHECKING:
    from openbei.engine_dir import EngineDir
    from openbei.model import Model


def _env(option: str) -> str:
    return f"  [env: {', '.join(variables.OPTIONS[option])}]"


def _device(context: click.Context, parameter: click.Parameter, value: str | None) -> DeviceChoice | None:
    """Check a device option."""
    try:
        return None if value is None else device_choice(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a device; it must be {error}") from error


def device_option(text: str) -> Option:
    """The device option, with its help."""
    return click.option("--device", metavar=DEVICE_CHOICES, callback=_device, help=text + _env("--device"))


OPTIONS: tuple[Option, ...] = (
    device_option(
        "Device to run on; cuda:1 is the second GPU, and `bei serve` can use several: cuda:0,1. GPUs need the extra "
        "`cuda`.  [default: auto, a GPU if it can be used]"
    ),
    click.option(
        "--backend",
        help="cuda (GPU), native (CPU, C++), or reference (numpy, slow) to check results.  [default: the fastest one "
        "of the device]" + _env("--backend"),
    ),
    click.option(
        "--isa",
        help="Instruction set of the native backend, one that `bei info` lists; set to compare them.  "
        "[default: the fastest available]" + _env("--isa"),
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        help="Maximum threads of the native backend; lower to leave cores for other programs.  "
        "[default: all that the CPU affinity and quota allow]" + _env("--threads"),
    ),
)
"""Options that override the environment."""


@dataclass(frozen=True, kw_only=True)
class EngineArguments:
    """The values of the options, None if not given."""

    device: DeviceChoice | None
    backend: str | None
    isa: str | None
    threads: int | None

    def load(self, engine_dir: "EngineDir", environment: Environment) -> tuple[Engine, ...]:
        """Load an engine for each GPU, or else one; options override the environment. Raises BackendError."""
        return targets.load_all(engine_dir, environment, **vars(self))

    def open(self, target: str) -> "Model":
        """Open the model of a TARGET. Raises what `Model` raises."""
        from openbei.model import Model

        return Model(target, **vars(self))


def engine_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `engine_arguments: EngineArguments`."""
    return add_grouped(command, OPTIONS, "engine_arguments", EngineArguments)
