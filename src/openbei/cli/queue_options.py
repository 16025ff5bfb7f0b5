"""Options of `bei serve` for the limits of batches and of the queue."""

import click

from openbei.cli.option_groups import Command, Option, add_grouped
from openbei.serving.queue_budget import QueueLimits

DEFAULTS = QueueLimits()

OPTIONS: tuple[Option, ...] = (
    click.option(
        "--max-batch-tokens",
        type=click.IntRange(1),
        help="Maximum tokens per batch; lower for low latency under load, raise for throughput.  "
        "[default: 512 per thread; on a GPU 16384, or 8192 for large models]",
    ),
    click.option(
        "--max-queue-tokens",
        default=DEFAULTS.max_queue_tokens,
        type=click.IntRange(1),
        help="Maximum queued tokens (429 above this); raise for larger bursts.",
    ),
    click.option(
        "--max-concurrent-requests",
        default=DEFAULTS.max_concurrent_requests,
        type=click.IntRange(1),
        help="Maximum queued requests (429 above this); raise for many small requests.",
    ),
    click.option(
        "--engine-timeout-s",
        default=DEFAULTS.engine_timeout_s,
        type=click.FloatRange(0, min_open=True),
        help="Seconds after which a batch counts as hung: the process ends with code 70, to be restarted, unless "
        "another GPU is left; raise for long texts on slow machines.",
    ),
)


def queue_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `queue_limits: QueueLimits`."""
    return add_grouped(command, OPTIONS, "queue_limits", QueueLimits)
