"""The build report as text."""

from openbei.config import Decision
from openbei.engine_dir import Manifest
from openbei.shapes import num_parameters


def render_report(manifest: Manifest) -> str:
    """A summary, a table of decisions with the columns subject, decision and reason, and the warnings."""
    num_bytes = sum(record.bytes for record in manifest.files.values())
    summary = f"{manifest.model_name}: {num_parameters(manifest.spec):,} parameters, {num_bytes:,} bytes"
    decisions = [decision for decision in manifest.report if not decision.is_warning]
    subject_width = max((len(decision.subject) for decision in decisions), default=0)
    decision_width = max((len(decision.decision) for decision in decisions), default=0)
    table = [f"  {d.subject:{subject_width}}  {d.decision:{decision_width}}  {d.reason}" for d in decisions]
    warnings = [f"  warning: {render_warning(decision)}" for decision in manifest.report if decision.is_warning]
    return "\n".join([summary, *table, *warnings])


def render_warning(warning: Decision) -> str:
    """A warning as one line."""
    return f"{warning.subject}: {warning.decision}: {warning.reason}"
