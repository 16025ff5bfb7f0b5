"""What clients do to connections: offers to upgrade, requests without end, silence, too many of them.

Each abuse has a bound on what the server does or keeps for it.
"""

import logging
import os
import random
import re
import socket
import time
from pathlib import Path

import httpx
import pytest

from openbei.api.connections.deadlines import ResponseWriter
from openbei.api.connections.framing import RequestSplitter
from openbei.api.connections.gate import ConnectionLimits
from openbei.api.connections.rejection import MAX_HEADER_BYTES
from openbei.api.exchange.edge import Edge
from openbei.api.exchange.keys import Guard
from openbei.serving.fake_engine import FakeEngine

from ..conftest import Served, Start
from ..test_load import GatedEngine

MIB = 2**20
BODY = b'{"input": "w1"}'
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
WEBSOCKET = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def resident_bytes() -> int:
    """Memory of this process, in which the server runs."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def exchange(served: Served, *packets: bytes) -> bytes:
    """Send packets, with time for the server to read one by one, and read until it hangs up."""
    with socket.create_connection(served.address, 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            connection.sendall(packet)
            time.sleep(0.05)
        return read_all(connection)


def framed(body: bytes, framing: str) -> bytes:
    if framing == "length":
        return b"content-length: %d\r\n\r\n" % len(body) + body
    middle = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:middle], body[middle:]))
    return b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


LAST = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("cut", ["one packet", "body apart", "every byte"])
def test_offers_to_upgrade_are_ignored(
    served: Served, caplog: pytest.LogCaptureFixture, offer: bytes, framing: str, cut: str
) -> None:
    """RFC 9110, 7.8: the body is read and answered, and so is the next request of the connection."""
    request = HEAD + offer + framed(BODY, framing)
    end = request.index(b"\r\n\r\n") + 4
    packets = {
        "one packet": [request + LAST],
        "body apart": [request[:end], request[end:], LAST],
        "every byte": [request[i : i + 1] for i in range(len(request))] + [LAST],
    }[cut]
    with caplog.at_level(logging.WARNING):
        answer = exchange_quickly(served, packets) if cut == "every byte" else exchange(served, *packets)
    assert statuses(answer) == [200, 404]
    assert b'"embedding"' in answer
    assert caplog.text == ""


def exchange_quickly(served: Served, packets: list[bytes]) -> bytes:
    with socket.create_connection(served.address, 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            connection.sendall(packet)
        return read_all(connection)


SMUGGLED = b"GET /health?smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize("offer", [b"", H2C, WEBSOCKET], ids=["none", "h2c", "websocket"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_is_never_a_request(served: Served, offer: bytes, framing: str) -> None:
    """A body that looks like a request is one body: 400 for what is not JSON, and nothing answers what is in it."""
    request = HEAD + offer + framed(SMUGGLED * 3, framing)
    end = request.index(b"\r\n\r\n") + 4
    for packets in (
        [request + LAST],
        [request[:end], request[end:], LAST],
        [request[: end + 40], request[end + 40 :], LAST],
    ):
        assert statuses(exchange(served, *packets)) == [400, 404]


def any_request(pick: random.Random, number: int) -> tuple[bytes, int]:
    """A request that says which one it is, with anything around what it asks; and the status of its answer."""
    head = b"x-request-id: %d\r\n" % number + pick.choice([b"", H2C, WEBSOCKET])
    if pick.random() < 0.3:
        return b"GET /health HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n", 200
    good = pick.random() < 0.5
    request = HEAD + head + framed(BODY if good else SMUGGLED * pick.randrange(1, 4), pick.choice(["length", "chunks"]))
    if request.endswith(b"\r\n0\r\n\r\n") and pick.random() < 0.5:
        request = request[:-2] + b"x-request-id: forged\r\n\r\n"
    return request, 200 if good else 400


@pytest.mark.parametrize("seed", range(40))
def test_any_requests_in_any_packets(served: Served, seed: int) -> None:
    """Each is answered once, in order, however the bytes arrive."""
    pick = random.Random(seed)
    sent = [any_request(pick, number) for number in range(pick.randrange(1, 12))]
    data = b"".join(request for request, _ in sent) + LAST
    cuts = sorted(pick.randrange(len(data)) for _ in range(pick.choice([0, 3, 30])))
    packets = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    with socket.create_connection(served.address, 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for packet in packets:
            connection.sendall(packet)
        answer = read_all(connection)
    assert statuses(answer) == [*(status for _, status in sent), 404]
    ids = re.findall(rb"\r\nx-request-id: (\S+)\r\n", answer)[:-1]
    assert [int(one) for one in ids] == list(range(len(sent)))


def test_upgrade_of_a_request_without_body(served: Served) -> None:
    offer = b"GET /health HTTP/1.1\r\nhost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert statuses(exchange(served, offer, LAST)) == [200, 404]


def test_upgrade_with_close(served: Served) -> None:
    offer = b"GET /health HTTP/1.1\r\nhost: x\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    answer = exchange(served, offer + LAST)
    assert statuses(answer) == [200]
    assert b"connection: close" in answer


def test_a_stock_client_that_offers_h2c(served: Served) -> None:
    headers = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAA"}
    for _ in range(3):
        assert served.client.post("/v1/embeddings", json={"input": "w1"}, headers=headers).status_code == 200


def test_connect_is_refused(served: Served) -> None:
    answer = exchange(served, b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n" + SMUGGLED)
    assert statuses(answer) == [405]


@pytest.mark.parametrize(
    "head",
    [
        b"X-Abc: \rxTransfer-Encoding: chunked\r\n\r\n",
        b" Content-Length: 5\r\n\r\n",
        b"X-Abc: y\r\n Content-Length: 5\r\n\r\n",
        b"X-Abc: y\r\n\rX",
    ],
    ids=["CVE-2023-30589", "CVE-2024-27982", "a folded line", "CVE-2025-23167"],
)
def test_heads_that_parsers_disagree_about(served: Served, head: bytes) -> None:
    """What a proxy may read in another way is refused, and nothing behind it is read."""
    answer = exchange(served, HEAD + head + b"hello" + SMUGGLED)
    assert statuses(answer) == [400]


def guarded(start: Start) -> Served:
    return start(FakeEngine(), edge=Edge(guard=Guard(["key"])))


def send_much(connection: socket.socket, part: bytes, num_bytes: int) -> int:
    """Send until so much is sent, the server hangs up, or it takes no more; how much was taken."""
    connection.settimeout(1)
    num_sent = 0
    try:
        while num_sent < num_bytes:
            num_sent += connection.send(part)
    except OSError:
        pass
    connection.settimeout(20)
    return num_sent


@pytest.mark.parametrize(
    "trailer", [b"x-%s: y\r\n" % (b"a" * 1000), b"a" * 1000, b"x" + b": y" * 1000], ids=["lines", "a name", "a value"]
)
def test_trailers_without_end_and_without_key(start: Start, trailer: bytes) -> None:
    """After the 401 nothing is parsed any more; what comes is thrown away until the connection closes."""
    served = guarded(start)
    before = resident_bytes()
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
        answer = connection.recv(65536)
        assert statuses(answer) == [401]
        assert b"connection: close" in answer
        assert send_much(connection, trailer * 64, 400 * MIB) < 400 * MIB
    assert resident_bytes() - before < 64 * MIB
    assert served.client.get("/health").status_code == 200


@pytest.mark.parametrize("part", [b"a" * 1000, b"x-a: y\r\n" * 100], ids=["a name", "lines"])
def test_trailers_count_against_the_header_limit(served: Served, part: bytes) -> None:
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
        num_sent = 0
        while num_sent < 8 * MAX_HEADER_BYTES:
            try:
                num_sent += connection.send(part)
            except OSError:
                break
        assert 431 in statuses(connection.recv(65536))


def test_a_chunk_extension_without_end(served: Served) -> None:
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n2;" + b"a" * (8 * MAX_HEADER_BYTES))
        assert statuses(connection.recv(65536)) == [431]


def test_a_trailer_is_no_header(start: Start) -> None:
    """RFC 9110, 6.5.1: a key behind the body opens nothing."""
    served = guarded(start)
    trailer = b"2\r\n{}\r\n0\r\nauthorization: Bearer key\r\n\r\n"
    answer = exchange(served, HEAD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n" + trailer)
    assert statuses(answer) == [401]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_refusal_with_an_unread_body_closes(start: Start, framing: str) -> None:
    served = guarded(start)
    request = HEAD + framed(SMUGGLED * 3, framing)
    end = request.index(b"\r\n\r\n") + 4
    answer = exchange(served, request[:end], request[end:], LAST)
    assert statuses(answer) == [401]
    assert b"connection: close" in answer


def test_a_refusal_with_a_read_body_keeps_the_connection(start: Start) -> None:
    served = guarded(start)
    assert statuses(exchange(served, HEAD + framed(BODY, "length"), LAST)) == [401, 401]


def test_a_large_body_that_is_refused_gets_its_answer(start: Start) -> None:
    """The connection is not reset while the client still sends."""
    served = guarded(start)
    assert served.client.post("/v1/embeddings", content=b"x" * (16 * MIB)).status_code == 401


def test_pipelining_is_answered_in_order(served: Served) -> None:
    many = b"".join(b"GET /x%d HTTP/1.1\r\nhost: x\r\nx-request-id: %d\r\n\r\n" % (i, i) for i in range(3000))
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(many + LAST)
        answer = read_all(connection)
    assert statuses(answer) == [404] * 3001
    assert [int(i) for i in re.findall(rb"\r\nx-request-id: (\d+)\r\n", answer)] == list(range(3000))


@pytest.mark.parametrize(
    "request_bytes", [b"GET /x HTTP/1.1\r\n\r\n", b"POST /x HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"]
)
def test_pipelining_without_reading(start: Start, request_bytes: bytes) -> None:
    """Only one request is in work, and what waits is bounded: reading stops until answers are read."""
    served = guarded(start)
    before = resident_bytes()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.settimeout(20)
        connection.connect(served.address)
        num_sent = send_much(connection, request_bytes * 1000, 20 * MIB)
        assert num_sent < 20 * MIB
        assert resident_bytes() - before < 64 * MIB
        connection.shutdown(socket.SHUT_WR)
    assert served.client.get("/health").status_code == 200


def test_pipelining_behind_a_request_that_takes_long(start: Start) -> None:
    engine = GatedEngine()
    served = start(engine)
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(HEAD + framed(BODY, "length"))
        served.await_value("te_queue_size", 1)
        num_sent = send_much(connection, b"GET /x HTTP/1.1\r\n\r\n" * 1000, 20 * MIB)
        assert num_sent < 20 * MIB
        assert served.value("openbei_http_requests_total", route="none", status="404") == 0
        engine.gate.set()
        assert statuses(connection.recv(65536))[0] == 200


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 4096])
def test_pieces_end_where_requests_do(size: int) -> None:
    requests = [
        b"GET /x HTTP/1.1\r\n\r\n",
        b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n",
    ] * 3
    data, ends = b"".join(requests), []
    splitter = RequestSplitter()
    for offset in range(0, len(data), size):
        part, start = data[offset : offset + size], 0
        while start < len(part):
            start = splitter.end(part, start)
            ends.append(offset + start)
    whole = [sum(map(len, requests[: i + 1])) for i in range(len(requests))]
    assert set(whole) <= set(ends)


def quick(**limits: float) -> ConnectionLimits:
    return ConnectionLimits(**{"request_timeout_s": 1.0, **limits})  # type: ignore[arg-type]


def test_a_silent_connection_is_closed(start: Start) -> None:
    served = start(FakeEngine(), connections=quick())
    with socket.create_connection(served.address, 20) as connection:
        assert connection.recv(100) == b""


@pytest.mark.parametrize(("begin", "drip"), [(b"", b"\r\n"), (b"GET /", b"x")], ids=["empty lines", "a head"])
def test_a_head_has_to_arrive_in_time_from_its_first_byte(start: Start, begin: bytes, drip: bytes) -> None:
    """On a fresh connection, and on one that had an answer; bytes that go on coming do not help."""
    served = start(FakeEngine(), connections=quick())
    for first in (b"", b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"):
        with socket.create_connection(served.address, 20) as connection:
            connection.sendall(first + begin)
            answer = b""
            connection.settimeout(0.05)
            for _ in range(400):
                try:
                    connection.sendall(drip)
                    answer += (part := connection.recv(65536))
                except TimeoutError:
                    continue
                except OSError:
                    break
                if not part:
                    break
            else:
                raise AssertionError("it was never closed")
        assert statuses(answer)[-1] == 408


def test_a_body_that_drips_is_refused(start: Start) -> None:
    """A byte does not begin the time anew."""
    served = start(FakeEngine(), connections=quick())
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(HEAD + b"content-length: 100000\r\n\r\n")
        connection.settimeout(0.05)
        for _ in range(400):
            try:
                connection.sendall(b" ")
                assert statuses(connection.recv(65536)) == [408]
                return
            except TimeoutError:
                continue
    raise AssertionError("it was never refused")


def test_the_deadline_of_a_body() -> None:
    limits = ConnectionLimits(request_timeout_s=60, body_timeout_s=600, min_bytes_per_s=10_000)
    assert limits.transfer_timeout_s(0) == 60
    assert limits.transfer_timeout_s(1_000_000) == 160
    assert limits.transfer_timeout_s(100_000_000) == 600


def test_a_client_that_does_not_read_is_cut_off(start: Start) -> None:
    served = start(FakeEngine(hidden_size=8), connections=quick())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(served.address)
        send_much(connection, b"GET /x HTTP/1.1\r\n\r\n" * 1000, 20 * MIB)
        connection.setblocking(False)
        for _ in range(500):
            try:
                connection.send(b"x")
            except BlockingIOError:
                pass
            except OSError:
                return
            time.sleep(0.01)
    raise AssertionError("it was never cut off")


def test_idle_connections_are_kept(start: Start) -> None:
    """Longer than a request may take: proxies reuse them."""
    served = start(FakeEngine(), connections=quick())
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert statuses(connection.recv(65536)) == [200]
        time.sleep(1.5)
        connection.sendall(LAST)
        assert statuses(read_all(connection)) == [404]
    assert ConnectionLimits().keep_alive_s == 620


def test_idle_connections_end(start: Start) -> None:
    served = start(FakeEngine(), connections=quick(keep_alive_s=0.2))
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert statuses(read_all(connection)) == [200]


@pytest.mark.parametrize(("age_s", "is_last"), [(1e-9, True), (1e9, False)])
def test_old_connections_end(start: Start, age_s: float, is_last: bool) -> None:
    """With their next answer, not before it."""
    served = start(FakeEngine(), connections=ConnectionLimits(max_connection_age_s=age_s))
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = connection.recv(65536)
        assert statuses(answer) == [200]
        assert (b"connection: close" in answer) == is_last
        connection.sendall(LAST)
        assert statuses(read_all(connection)) == ([] if is_last else [404])


def test_old_connections_that_are_idle_end(start: Start) -> None:
    served = start(FakeEngine(), connections=quick(max_connection_age_s=0.5))
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert statuses(read_all(connection)) == [200]


def test_too_many_connections(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    served = start(FakeEngine(), connections=ConnectionLimits(max_connections=5))
    with caplog.at_level(logging.WARNING):
        held = [socket.create_connection(served.address, 20) for _ in range(5)]
        for _ in range(20):
            with socket.create_connection(served.address, 20) as one:
                answer = read_all(one)
                assert statuses(answer) == [503]
                assert b"retry-after: 1\r\n" in answer
                assert b"5 connections are open" in answer
    assert caplog.text.count("5 connections are open") == 1
    assert "--max-connections" in caplog.text
    for one in held:
        one.close()
    for _ in range(100):
        if served.client.get("/health").status_code == 200:
            return
        time.sleep(0.01)
    raise AssertionError("it does not recover")


def test_too_many_connections_from_an_address(start: Start) -> None:
    served = start(FakeEngine(), connections=ConnectionLimits(max_connections_per_address=2))
    held = [socket.create_connection(served.address, 20) for _ in range(2)]
    with socket.create_connection(served.address, 20) as one:
        assert statuses(read_all(one)) == [429]
    other = socket.create_connection(served.address, 20, source_address=("127.0.0.2", 0))
    with other:
        other.sendall(LAST)
        assert statuses(read_all(other)) == [404]
    for one in held:
        one.close()


def test_a_flood_of_connections_is_not_answered(start: Start) -> None:
    served = start(FakeEngine(), connections=ConnectionLimits(max_connections=1))
    flood = [socket.create_connection(served.address, 20) for _ in range(100)]
    ends = []
    for one in flood[1:]:
        try:
            ends.append(len(read_all(one)))
        except ConnectionResetError:
            ends.append(0)
    assert 0 in ends
    for one in flood:
        one.close()


def test_http_clients_still_pool(served: Served) -> None:
    with httpx.Client(base_url=served.url) as client:
        for _ in range(20):
            assert client.get("/health").status_code == 200


def test_the_deadline_of_a_client_that_reads_slowly() -> None:
    """The floor counts from when it had read everything, or from the beginning of an answer."""

    class Transport:
        num_waiting = 0

        def write(self, data: bytes) -> None:
            self.num_waiting += len(data)

        def get_write_buffer_size(self) -> int:
            return self.num_waiting

    transport = Transport()
    writer = ResponseWriter(transport, ConnectionLimits(body_timeout_s=600), 0)  # type: ignore[arg-type]
    assert not writer.is_late(1_000)
    writer.write(b"x" * 5_000_000)
    writer.begin(1_000)
    assert not writer.is_late(1_060)
    transport.num_waiting -= 5_000  # a few bytes at a time do not help much
    assert not writer.is_late(1_060)
    assert writer.is_late(1_061)
    transport.num_waiting -= 1_000_000
    assert not writer.is_late(1_160)
    assert writer.is_late(1_161)
    writer.begin(1_161)  # the time that the last answer left over is not the next one's
    assert not writer.is_late(1_220)
    assert writer.is_late(1_222)
    transport.num_waiting = 0
    assert not writer.is_late(5_000)
    writer.write(b"x" * 50_000_000)
    transport.num_waiting -= 40_000_000
    assert writer.is_late(5_601)


def test_a_client_that_reads_a_few_bytes_at_a_time_is_cut_off(start: Start) -> None:
    """Each of them begins no new time. A client that reads as fast as it can gets the same answer."""
    served = start(FakeEngine(hidden_size=4096), connections=quick())
    body = b'{"input": [%s]}' % b",".join([b'"w1"'] * 200)
    request = HEAD + b"connection: close\r\n" + framed(body, "length")
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(request)
        num_whole = len(read_all(connection))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(served.address)
        connection.sendall(request)
        num_read = 0
        while not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # what the reset leaves can be read still
            num_read += len(connection.recv(16))
            assert num_read < num_whole / 1000
            time.sleep(0.01)
