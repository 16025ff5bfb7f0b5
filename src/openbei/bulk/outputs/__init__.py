"""Output files by suffix."""

from pathlib import Path

from openbei.bulk.outputs import arrow_file, json_lines, npy, table, text
from openbei.bulk.outputs.output import Output
from openbei.errors import InputError

OUTPUTS: dict[str, type[Output]] = {
    ".parquet": arrow_file.Parquet,
    ".pq": arrow_file.Parquet,
    ".arrow": arrow_file.Ipc,
    ".ipc": arrow_file.Ipc,
    ".feather": arrow_file.Ipc,
    ".jsonl": json_lines.JsonLines,
    ".ndjson": json_lines.JsonLines,
    ".csv": table.Csv,
    ".tsv": table.Tsv,
    ".txt": text.Text,
    ".npy": npy.Npy,
}
"""Suffix -> format."""


def output_for(path: Path) -> type[Output]:
    """The format of a file. Raises InputError."""
    if path.suffix.lower() not in OUTPUTS:
        known = "parquet, arrow, jsonl, csv, tsv, txt and npy"
        raise InputError(
            f"{path} has no known format", hint=f"the formats are {known}: choose one by the file's suffix"
        )
    return OUTPUTS[path.suffix.lower()]
