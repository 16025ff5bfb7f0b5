"""Ids are random, and distinct from one block of random numbers to the next."""

import re

from openbei.api.exchange.request_ids import BLOCK_BYTES, ID_BYTES, RequestIds


def test_ids() -> None:
    ids, others = RequestIds(), RequestIds()
    count = 3 * BLOCK_BYTES // ID_BYTES + 1
    made = [source.new() for source in (ids, others) for _ in range(count)]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert len({*made}) == 2 * count
