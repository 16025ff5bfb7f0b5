"""`bei push`: copy an engine directory to an object store or the Hub."""

from pathlib import Path

import click

from openbei import targets
from openbei.cli.logs import log_to_stderr


@click.command
@click.argument("engine_dir", type=click.Path(path_type=Path))
@click.argument("url")
@click.option("--force", is_flag=True, help="Send all chunks, even those already stored, to repair damaged ones.")
def command(engine_dir: Path, url: str, force: bool) -> None:
    """Copy an engine directory to an object store or the Hub.

    URL is s3://bucket/path, gs://bucket/path, azure://account/container/path or hf://owner/name. Every command with a
    TARGET accepts the URL. Only missing chunks are sent, and the manifest is written last.
    """
    from openbei.artifacts import push
    from openbei.progress import Bar

    log_to_stderr("info")
    with Bar() as bar:
        num_bytes = push(
            engine_dir,
            url,
            targets.read_environment(),
            lambda done, total: bar.step("push", done, total),
            force=force,
        )
    click.echo(f"{num_bytes:,} bytes were sent", err=True)
    click.echo(url)
