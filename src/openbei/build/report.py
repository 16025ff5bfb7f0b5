"""Report: what a build decided and why, as text for a person."""

from openbei.config import Decision
from openbei.engine_dir import Manifest
from openbei.shapes import num_parameters


def render_report(manifest: Manifest) -> str:
    """A line a decision, in columns: subject, decision, reason. Warnings come last, and say that they are."""
    size = sum(record.bytes for record in manifest.files.values())
    head = f"{manifest.model_name}: {num_parameters(manifest.spec):,} parameters, {size:,} bytes"
    made = [decision for decision in manifest.report if not decision.is_warning]
    subjects = max((len(decision.subject) for decision in made), default=0)
    decisions = max((len(decision.decision) for decision in made), default=0)
    warnings = [f"  warning: {render_warning(one)}" for one in manifest.report if one.is_warning]
    return "\n".join([head, *(_line(decision, subjects, decisions) for decision in made), *warnings])


def render_warning(warning: Decision) -> str:
    """A warning as a sentence."""
    return f"{warning.subject}: {warning.decision}: {warning.reason}"


def _line(decision: Decision, subjects: int, decisions: int) -> str:
    return f"  {decision.subject:{subjects}}  {decision.decision:{decisions}}  {decision.reason}"
