"""Writing a quantized engine directory: calibrated with the original, and measured against it."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from openbei.atomic_folder import replace_folder, temporary_folder
from openbei.config import Decision
from openbei.engine_dir import Accuracy, EngineDir, Manifest, open_engine_dir, seal, write_engine_dir
from openbei.formats.format import Floats
from openbei.safetensors_file import LazyTensor

LOW_COSINE = 0.99
"""Below this mean cosine similarity, a build warns."""

Measure = Callable[[EngineDir, EngineDir], Accuracy]
"""Compares the quantized engine directory, the second one, with the original."""

Calibrate = Callable[[EngineDir], Mapping[str, Floats]]
"""The largest magnitudes of the inputs [K] of each linear layer of an engine directory, by the name of its weight."""

Planned = tuple[Manifest, Mapping[str, LazyTensor]]
"""A manifest and its tensors."""


def write_quantized(
    out: Path,
    original: Planned,
    quantized: Callable[[Mapping[str, Floats]], Planned],
    tokenizer_json: bytes,
    progress: Callable[[int, int], None],
    *,
    calibrate: Calibrate | None,
    measure: Measure | None,
) -> None:
    """Write the quantized engine directory, with its accuracy in the manifest and the report.

    `quantized` plans it from the result of `calibrate`. The original is written beside it for as long as it is needed.
    Raises EngineDirError, and what the functions raise.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(out) as folder:

        def written(name: str, planned: Planned) -> EngineDir:
            write_engine_dir(folder / name, *planned, tokenizer_json, progress=progress)
            return open_engine_dir(folder / name, verify=False)

        before = written("original", original)
        manifest, tensors = quantized(calibrate(before) if calibrate else {})
        after = written("quantized", (manifest, tensors))
        if measure:
            accuracy = measure(before, after)
            report = (*manifest.report, _decision(accuracy, before.manifest.dtype))
            seal(folder / "quantized", msgspec.structs.replace(manifest, accuracy=accuracy, report=report))
        shutil.rmtree(folder / "original")
        replace_folder(folder / "quantized", out)


def _decision(accuracy: Accuracy, dtype: str) -> Decision:
    figures = ", ".join(f"{name} {figure:.4f}" for name, figure in accuracy.figures.items())
    reason = f"{accuracy.num_documents} texts and {accuracy.num_queries} queries, compared with {dtype}"
    is_low = accuracy.figures.get("mean cosine", 1.0) < LOW_COSINE
    return Decision("accuracy", figures, reason, is_warning=is_low)
