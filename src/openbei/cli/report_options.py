"""Options for the report of a measurement."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openbei.cli.option_groups import Command, Option, add_grouped

if TYPE_CHECKING:
    from openbei.report.page import Report

OPTIONS: tuple[Option, ...] = (
    click.option(
        "--report",
        type=click.Path(dir_okay=False, writable=True, path_type=Path),
        help="HTML file to write: charts and tables on one page, without scripts.  [default: none]",
    ),
    click.option(
        "--figures",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder to write each chart to, as an SVG file.  [default: none]",
    ),
)


@dataclass(frozen=True, kw_only=True)
class ReportArguments:
    """The values of the options."""

    report: Path | None
    figures: Path | None

    @property
    def is_given(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.report or self.figures)

    def write(self, report: "Report") -> None:
        """Write what the options name. Raises OSError."""
        if self.report:
            report.write(self.report)
            click.echo(f"report: {self.report}", err=True)
        if self.figures:
            report.write_figures(self.figures)
            click.echo(f"figures: {self.figures}", err=True)


def report_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `report_arguments: ReportArguments`."""
    return add_grouped(command, OPTIONS, "report_arguments", ReportArguments)
