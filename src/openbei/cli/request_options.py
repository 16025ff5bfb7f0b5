"""Options of `bei serve` about requests: what one may hold, and what holds where it says nothing."""

import click

from openbei.api.limits import Limits
from openbei.cli.option_groups import Command, Option, add_grouped

DEFAULTS = Limits()

OPTIONS: tuple[Option, ...] = (
    click.option(
        "--max-client-batch-size",
        default=DEFAULTS.max_client_batch_size,
        type=click.IntRange(1),
        help="Texts in a request. Down to make clients share.",
    ),
    click.option(
        "--payload-limit-bytes",
        "max_body_bytes",
        default=DEFAULTS.max_body_bytes,
        type=click.IntRange(1),
        help="Size of a request. Down where clients are not trusted.",
    ),
    click.option(
        "--max-inflated-bytes",
        default=DEFAULTS.max_inflated_bytes,
        type=click.IntRange(1),
        help="Size to which a compressed request may inflate, at most --payload-limit-bytes. Up for large requests of "
        "trusted clients.",
    ),
    click.option(
        "--max-bodies-bytes",
        default=DEFAULTS.max_bodies_bytes,
        type=click.IntRange(1),
        help="Size of all requests at once; more get 429. At least --payload-limit-bytes. Up for large ones side by "
        "side.",
    ),
    click.option(
        "--auto-truncate/--no-auto-truncate",
        default=DEFAULTS.auto_truncate,
        help="Whether texts that are too long are truncated or refused, where a request does not say.",
    ),
    click.option(
        "--rerank-order",
        default=DEFAULTS.rerank_order,
        type=click.Choice(["input", "score"]),
        show_default=True,
        help="How /rerank sorts: as the texts came (BEI), or best first, for clients of text-embeddings-inference.",
    ),
)


def request_options(command: Command) -> Command:
    """Add OPTIONS, which the command gets as one argument, `limits: Limits`."""
    return add_grouped(command, OPTIONS, "limits", Limits)
