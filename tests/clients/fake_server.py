"""A server over the fake engine, in a process of its own: `python -m tests.clients.fake_server DELAY_MS REQUESTS`.

DELAY_MS is what the engine takes for each batch, REQUESTS how many are let in at once.
"""

import logging
import sys
import tempfile
from pathlib import Path

from openbei.api.app import create_app
from openbei.api.server import build_server, serve
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.metrics import Metrics
from openbei.serving.scheduler import QueueLimits, Scheduler
from openbei.serving.tokenizer import Tokenizer
from tests.api.conftest import MAX_TOKENS, small_manifest
from tests.small_tokenizer import VOCAB_SIZE, write_tokenizer


def main() -> None:
    logging.basicConfig(level="INFO")
    delay_ms, max_requests = int(sys.argv[1]), int(sys.argv[2])
    metrics = Metrics()
    scheduler = Scheduler(
        FakeEngine(delay_s=delay_ms / 1000), QueueLimits(max_concurrent_requests=max_requests), metrics
    )
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Tokenizer(write_tokenizer(Path(folder) / "tokenizer.json"), MAX_TOKENS, VOCAB_SIZE)
    app = create_app(manifest=small_manifest(), tokenizer=tokenizer, scheduler=scheduler, metrics=metrics)
    serve(build_server(app, scheduler, host="127.0.0.1", port=0))


if __name__ == "__main__":
    main()
