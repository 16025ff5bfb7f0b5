"""The bytes of all bodies together: more are refused, and the room comes back however a request ends."""

import gzip
import select
import socket
import threading

import pytest

from openbei.api.exchange.bodies import Bodies
from openbei.api.limits import Limits
from openbei.errors import OverloadedError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits

from ..conftest import Served, Start
from ..connections.test_connections import MIB, resident_bytes, statuses

HEAD = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\n"
PADDING = b" " * MIB


def test_counts() -> None:
    bodies = Bodies(10)
    bodies.take(6)
    with pytest.raises(OverloadedError, match=r"hold 6 bytes \(limit 10\)") as error:
        bodies.take(5)
    assert error.value.retry_after_s == 1
    bodies.take(4)
    bodies.give_back(10)
    assert bodies.num_bytes == 0


def unfinished(served: Served, num_bytes: int) -> socket.socket:
    """A request that is still on its way."""
    connection = socket.create_connection(served.address, 20)
    connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % (num_bytes + 100))
    threading.Thread(target=send, args=(connection, num_bytes)).start()
    return connection


def send(connection: socket.socket, num_bytes: int) -> None:
    try:
        for _ in range(num_bytes // MIB):
            connection.sendall(PADDING)
    except OSError:
        return


def test_unfinished_bodies_are_bounded(start: Start) -> None:
    """Ten bodies of 20 MiB where 32 are allowed: those that are too much get 429, and memory stays where it is."""
    served = start(FakeEngine(), limits=Limits(max_body_bytes=24 * MIB, max_bodies_bytes=32 * MIB))
    before = resident_bytes()
    held = [unfinished(served, 20 * MIB) for _ in range(10)]
    served.await_at_least("te_request_failure", 9, err="overloaded")  # two halves fill the room as well as one whole
    assert resident_bytes() - before < 128 * MIB
    answers: dict[socket.socket, bytes] = {}
    while len(answers) < 9:
        ready, _, _ = select.select([one for one in held if one not in answers], [], [], 20)
        answers |= {one: one.recv(65536) for one in ready}
    assert {statuses(answer)[0] for answer in answers.values()} == {429}
    assert all(b"\r\nretry-after: 1\r\n" in answer for answer in answers.values())
    for connection in held:
        connection.close()
    served.await_value("openbei_http_requests_total", 1, route="/v1/embeddings", status="499")
    for _ in range(3):  # the room has come back
        body = b'{"input": "w1"}' + b" " * (20 * MIB)
        assert served.client.post("/v1/embeddings", content=body).status_code == 200


def test_what_inflates_counts(start: Start) -> None:
    served = start(FakeEngine(), limits=Limits(max_body_bytes=MIB, max_bodies_bytes=MIB))
    body = gzip.compress(b'{"input": "w1"}' + b" " * (MIB - 100))
    answer = served.client.post("/v1/embeddings", content=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert served.embed(input="w1").status_code == 200


def test_the_room_comes_back_after_errors(start: Start) -> None:
    served = start(FakeEngine(), QueueLimits(), Limits(max_body_bytes=MIB, max_bodies_bytes=MIB))
    for _ in range(5):
        assert served.client.post("/v1/embeddings", content=b"{" + b" " * (MIB - 10)).status_code == 400
    body = b'{"input": "w1"}' + b" " * (MIB - 100)
    assert served.client.post("/v1/embeddings", content=body).status_code == 200
