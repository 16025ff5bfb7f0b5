"""`bei info`: describe the engine directory of a TARGET and this machine."""

import platform
from pathlib import Path

import click

from openbei import __version__, targets
from openbei.accelerators import formats_of
from openbei.backends import BACKENDS, effective_threads
from openbei.backends.device_choice import EXTRA, is_installed
from openbei.cli.logs import log_to_stderr
from openbei.engine_dir import EngineDir
from openbei.gpus import Gpu, Gpus, find_gpus
from openbei.shapes import num_parameters

Rows = list[tuple[str, str]]


@click.command
@click.argument("target", required=False)
def command(target: str | None) -> None:
    """Describe a model and this machine.

    Verifies the hashes of TARGET's engine directory, and shows the model, its build report, and the GPUs and CPU
    instruction sets of this machine. Builds the engine directory first if there is none. Without TARGET, describes only
    the machine.
    """
    if target is not None:
        log_to_stderr("warning")
        opened = targets.engine_dir_of(target, targets.read_environment(target))
        _print("engine directory", _about(opened))
        report = opened.manifest.report
        _print("build", [(d.subject, f"{d.decision}  ({d.reason})") for d in report if not d.is_warning])
        if warnings := [(d.subject, f"{d.decision}  ({d.reason})") for d in report if d.is_warning]:
            _print("warnings", warnings)
    _print("machine", _machine())


def _print(title: str, rows: Rows) -> None:
    width = max(len(name) for name, _ in rows)
    click.echo(f"{title}\n" + "".join(f"  {name:{width}}  {value}\n" for name, value in rows))


def _about(engine_dir: EngineDir) -> Rows:
    manifest = engine_dir.manifest
    spec = manifest.spec
    sizes = [(name, f"{record.bytes:,} bytes, intact") for name, record in manifest.files.items()]
    return [
        ("path", str(engine_dir.path)),
        ("model", manifest.model_name),
        ("source", manifest.source),
        ("family", f"{spec.family}, {spec.num_layers} layers of {spec.hidden_size}"),
        ("parameters", f"{num_parameters(spec):,}"),
        ("task", spec.task.replace("_", " ")),
        ("default route", manifest.default_route),
        ("built for", manifest.target),
        ("dtype", manifest.dtype),
        ("quantization", manifest.quantization),
        ("longest text", f"{manifest.max_sequence_tokens} tokens"),
        ("format", f"{manifest.format_version}, written by openbei {manifest.openbei_version}"),
        *sizes,
    ]


def _machine() -> Rows:
    environment = targets.read_environment()
    return [
        ("openbei", f"{__version__}, Python {platform.python_version()}"),
        ("cpu", cpu_name()),
        ("threads", f"{effective_threads(environment.threads)}, from CPU affinity, quota and OPENBEI_THREADS"),
        *_gpus(find_gpus()),
        ("backends", ", ".join(BACKENDS)),
        *_isa_levels(environment.isa),
    ]


def _gpus(found: Gpus) -> Rows:
    """Each GPU with its compute capability, memory and number formats, or why there is none."""
    if not found.gpus:
        return [("gpu", f"none: {found.missing}")]
    rows = [(f"cuda:{gpu.index}", _about_gpu(gpu)) for gpu in found.gpus]
    missing = [module for module in EXTRA if not is_installed(module)]
    extra = f"not installed, so GPUs are not used: no {' and no '.join(missing)}" if missing else "installed"
    major, minor = found.driver
    return [*rows, ("driver", f"supports CUDA {major}.{minor}"), ("extra `cuda`", extra)]


def _about_gpu(gpu: Gpu) -> str:
    formats = ", ".join(formats_of(gpu.capability)) or "no number format that openbei uses"
    return f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB, compute capability {gpu.capability}: {formats}"


def cpu_name() -> str:
    """The model name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _isa_levels(requested: str | None) -> Rows:
    try:
        from openbei import _native
    except ImportError as error:
        return [("native", f"not available: {error}")]
    levels = _native.isa_levels()
    supported = [name for name, compiled, missing in levels if compiled and not missing]
    chosen = requested or supported[0]

    def state(name: str, compiled: bool, missing: str) -> str:
        if name == chosen and name in supported:
            return "chosen: set by OPENBEI_ISA" if requested else "chosen: the fastest on this CPU"
        return "not compiled" if not compiled else missing or "supported"

    return [(name, state(name, compiled, missing)) for name, compiled, missing in levels]
