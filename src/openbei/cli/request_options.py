"""Options of `bei serve` for the limits and defaults of requests."""

import click

from openbei.api.limits import Limits
from openbei.cli.option_groups import Command, Option, add_grouped

DEFAULTS = Limits()

OPTIONS: tuple[Option, ...] = (
    click.option(
        "--max-client-batch-size",
        default=DEFAULTS.max_client_batch_size,
        type=click.IntRange(1),
        help="Maximum texts per request; lower to make clients send smaller requests.",
    ),
    click.option(
        "--payload-limit-bytes",
        "max_body_bytes",
        default=DEFAULTS.max_body_bytes,
        type=click.IntRange(1),
        help="Maximum size of a request body in bytes; lower if clients are not trusted.",
    ),
    click.option(
        "--max-inflated-bytes",
        default=DEFAULTS.max_inflated_bytes,
        type=click.IntRange(1),
        help="Maximum size of a compressed body after decompression, at most --payload-limit-bytes; raise for large "
        "requests from trusted clients.",
    ),
    click.option(
        "--max-bodies-bytes",
        default=DEFAULTS.max_bodies_bytes,
        type=click.IntRange(1),
        help="Maximum total size of all request bodies in memory (429 above this); raise for many large requests. At "
        "least --payload-limit-bytes.",
    ),
    click.option(
        "--auto-truncate/--no-auto-truncate",
        default=DEFAULTS.auto_truncate,
        help="Truncate texts that are too long, or refuse them, unless the request specifies it.",
    ),
    click.option(
        "--rerank-order",
        default=DEFAULTS.rerank_order,
        type=click.Choice(["input", "score"]),
        show_default=True,
        help="Order of /rerank: input, as in the request (BEI), or score, best first (text-embeddings-inference).",
    ),
)


def request_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `limits: Limits`."""
    return add_grouped(command, OPTIONS, "limits", Limits)
