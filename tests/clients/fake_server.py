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
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.served_model import schedule
from openbei.serving.tokenizer import Tokenizer
from tests.api.conftest import MAX_TOKENS, small_manifest
from tests.small_tokenizer import VOCAB_SIZE, write_tokenizer


def main() -> None:
    logging.basicConfig(level="INFO")
    delay_ms, max_requests = int(sys.argv[1]), int(sys.argv[2])
    metrics = Metrics()
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Tokenizer(write_tokenizer(Path(folder) / "tokenizer.json"), MAX_TOKENS, VOCAB_SIZE)
    model = LoadedModel(small_manifest(), tokenizer, FakeEngine(delay_s=delay_ms / 1000))
    [served] = schedule([model], QueueLimits(max_concurrent_requests=max_requests), metrics)
    app = create_app([served], metrics=metrics)
    serve(build_server(app, [served.scheduler], host="127.0.0.1", port=0))


if __name__ == "__main__":
    main()
