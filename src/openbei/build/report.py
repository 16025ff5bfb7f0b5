"""Report: what a build decided and why, as text for a person."""

from openbei.config import Decision
from openbei.engine_dir import Manifest
from openbei.shapes import num_parameters


def render_report(manifest: Manifest) -> str:
    """A line a decision, in columns: subject, decision, reason."""
    size = sum(record.bytes for record in manifest.files.values())
    head = f"{manifest.model_name}: {num_parameters(manifest.spec):,} parameters, {size:,} bytes"
    subjects = max(len(decision.subject) for decision in manifest.report)
    decisions = max(len(decision.decision) for decision in manifest.report)
    return "\n".join([head, *(_line(decision, subjects, decisions) for decision in manifest.report)])


def _line(decision: Decision, subjects: int, decisions: int) -> str:
    return f"  {decision.subject:{subjects}}  {decision.decision:{decisions}}  {decision.reason}"
