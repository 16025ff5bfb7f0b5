"""Build: a deployment and its checkpoint -> an engine directory. Never imported while serving.

fetch (openbei.checkpoints) -> inspect -> check -> convert -> write (openbei.engine_dir) -> report
"""

from collections.abc import Callable
from pathlib import Path

from openbei import __version__
from openbei.build.check import Matched, match_tensors, read_checkpoint
from openbei.build.convert import plan_tensors
from openbei.build.inspect import Inspection, inspect_checkpoint
from openbei.build.report import render_report
from openbei.build.staleness import content_hash, default_engine_path, why_stale
from openbei.build.tokenizer_file import convert_tokenizer
from openbei.checkpoints import fetch_checkpoint
from openbei.config import Decision, Deployment, Environment
from openbei.engine_dir import EngineDir, Manifest, open_engine_dir, write_engine_dir
from openbei.errors import ConfigError
from openbei.quant import SCHEMES

__all__ = ["build", "content_hash", "default_engine_path", "render_report", "why_stale"]

EMBEDDING_ROUTE = "/v1/embeddings"

Progress = Callable[[str, int, int], None]
"""Told a step, what of it is done, and how much there is: ("write", bytes, bytes)."""


def build(
    deployment: Deployment,
    out: Path,
    *,
    environment: Environment,
    progress: Progress = lambda step, done, total: None,
) -> EngineDir:
    """Build the engine directory `out`, whole or not at all, and open it.

    Raises ConfigError for a config that asks for what the checkpoint is not, CheckpointError, DownloadError,
    EngineDirError where `out` cannot be written.
    """
    progress("fetch", 0, 1)
    folder = fetch_checkpoint(deployment.repository, environment)
    progress("fetch", 1, 1)
    inspection = inspect_checkpoint(folder, deployment.max_num_tokens)
    spec = inspection.spec
    if deployment.default_route not in (None, EMBEDDING_ROUTE):
        raise ConfigError(
            f"trt_llm.runtime.webserver_default_route is {deployment.default_route}; an embedding model answers "
            f"{EMBEDDING_ROUTE}"
        )
    tokenizer_json, tokenizer_notes = convert_tokenizer(inspection.root / "tokenizer.json", spec, inspection.lowercases)
    matched = match_tensors(read_checkpoint(inspection.root), inspection.family, spec)
    manifest = Manifest(
        openbei_version=__version__,
        model_name=deployment.model_name,
        source=_source(deployment, folder),
        spec=spec,
        pooling=inspection.pooling,
        normalize=inspection.normalize,
        dtype=deployment.dtype,
        max_sequence_tokens=inspection.max_sequence_tokens,
        max_num_tokens=deployment.max_num_tokens,
        default_route=EMBEDDING_ROUTE,
        content_hash=content_hash(deployment, folder),
        report=_decisions(deployment, inspection, matched, tokenizer_notes),
    )
    tensors = plan_tensors(spec, matched, SCHEMES[deployment.dtype])
    write_engine_dir(
        out, manifest, tensors, tokenizer_json, progress=lambda done, total: progress("write", done, total)
    )
    return open_engine_dir(out, verify=False)


def _decisions(
    deployment: Deployment, inspection: Inspection, matched: Matched, tokenizer_notes: tuple[Decision, ...]
) -> tuple[Decision, ...]:
    dropped = ", ".join(matched.dropped) or "none"
    route_reason = "webserver_default_route" if deployment.default_route else "the model gives embeddings"
    return (
        *inspection.decisions,
        *tokenizer_notes,
        Decision("dropped tensors", dropped, "pooled token vectors do not depend on them"),
        Decision("default route", EMBEDDING_ROUTE, route_reason),
        *deployment.notes,
    )


def _source(deployment: Deployment, folder: Path) -> str:
    """`LOCAL /a/folder`, or `HF owner/name commit`: the Hub's cache names a snapshot's folder after its commit."""
    repository = deployment.repository
    return " ".join([repository.source, repository.repo] + [folder.name] * (repository.source == "HF"))
