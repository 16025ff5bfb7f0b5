"""Writing a quantized engine directory: it is measured against the original before it takes its place."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from openbei.atomic_folder import replace_folder, temporary_folder
from openbei.config import Decision
from openbei.engine_dir import Accuracy, EngineDir, Manifest, open_engine_dir, seal, write_engine_dir
from openbei.safetensors_file import LazyTensor

LOW_COSINE = 0.99
"""Below this mean cosine similarity, a build warns."""

Measure = Callable[[EngineDir, EngineDir], Accuracy]
"""Compares the quantized engine directory, the second one, with the original."""

Planned = tuple[Manifest, Mapping[str, LazyTensor]]
"""A manifest and its tensors."""


def write_measured(
    out: Path,
    original: Planned,
    quantized: Planned,
    tokenizer_json: bytes,
    measure: Measure,
    progress: Callable[[int, int], None],
) -> None:
    """Write the quantized engine directory, with its accuracy in the manifest and the report.

    The original is written beside it for the time of the measurement. Raises EngineDirError, and what `measure` raises.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(out) as folder:
        opened = []
        for name, (manifest, tensors) in (("original", original), ("quantized", quantized)):
            write_engine_dir(folder / name, manifest, tensors, tokenizer_json, progress=progress)
            opened.append(open_engine_dir(folder / name, verify=False))
        accuracy = measure(opened[0], opened[1])
        shutil.rmtree(folder / "original")
        manifest = quantized[0]
        report = (*manifest.report, _decision(accuracy, opened[0].manifest.dtype))
        seal(folder / "quantized", msgspec.structs.replace(manifest, accuracy=accuracy, report=report))
        replace_folder(folder / "quantized", out)


def _decision(accuracy: Accuracy, dtype: str) -> Decision:
    figures = ", ".join(f"{name} {figure:.4f}" for name, figure in accuracy.figures.items())
    reason = f"{accuracy.num_documents} texts and {accuracy.num_queries} queries, compared with {dtype}"
    is_low = accuracy.figures.get("mean cosine", 1.0) < LOW_COSINE
    return Decision("accuracy", figures, reason, is_warning=is_low)
