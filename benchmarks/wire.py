"""Time to encode one embedding of 1024 dimensions as JSON, compared with orjson and msgspec."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np
import orjson

from openbei.api.exchange.encoding import message_pack_row
from openbei.json_floats import json_row

from .results import Row, report
from .setting import Setting

CALLS = 2000


def microseconds(write: Callable[[], object]) -> float:
    """Microseconds per call: the median over rounds of the mean of CALLS calls."""
    means = []
    for _ in range(15):
        start = time.perf_counter()
        for _ in range(CALLS):
            write()
        means.append((time.perf_counter() - start) / CALLS)
    return 1e6 * statistics.median(means)


def run(setting: Setting) -> list[Row]:
    """Encoding times, and ratios to orjson and msgspec."""
    row = np.random.default_rng(0).standard_normal(1024).astype(np.float32)
    row /= np.linalg.norm(row)
    assert np.array_equal(np.array(msgspec.json.decode(json_row(row)), np.float32), row)
    writers: dict[str, Callable[[], object]] = {
        "openbei": partial(json_row, row),
        "orjson": partial(orjson.dumps, row, option=orjson.OPT_SERIALIZE_NUMPY),
        "msgspec": lambda: msgspec.json.encode(row.tolist()),
        "openbei, MessagePack": partial(message_pack_row, row),
    }
    times = {name: microseconds(write) for name, write in writers.items()}
    rows = [
        Row("an embedding of 1024 dimensions as JSON, µs", times["openbei"], "{:.1f}", 15.0, is_at_most=True),
        Row("the same, × orjson", times["orjson"] / times["openbei"]),
        Row("the same, × msgspec", times["msgspec"] / times["openbei"]),
        Row("the same as MessagePack, µs", times["openbei, MessagePack"], "{:.1f}"),
    ]
    report("wire", setting.about(), {"us": times}, rows)
    return rows
