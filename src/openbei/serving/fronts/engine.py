"""The engine process's side of the connections to fronts: queues their requests and sends the answers."""

import asyncio
import logging
import socket
from collections.abc import Callable
from collections.abc import Sequence as Items

import msgspec

from openbei.errors import OpenbeiError
from openbei.serving.fronts.exposition import counters, merged
from openbei.serving.fronts.frames import (
    MAX_REQUEST_BYTES,
    SEPARATOR,
    Frame,
    Kind,
    MalformedFrameError,
    ModelDescription,
    StartedModel,
    decode_sequences,
    encode_answer,
    encode_failure,
    frame,
)
from openbei.serving.fronts.stream import FrameSplitter, FrameStream
from openbei.serving.metrics import Metrics
from openbei.serving.request import Answer, Request
from openbei.serving.scheduler import Scheduler

log = logging.getLogger(__name__)

SNAPSHOT_TIMEOUT_S = 1.0
"""How long the metrics of a front are awaited; after that, its last ones are used."""


class Fronts:
    """The connections to all fronts. `connect` adds one; `begin` makes them listen.

    `ready` is called with an address once `count` fronts listen. The schedulers must run on the same event loop.
    """

    def __init__(
        self, models: Items[ModelDescription], metrics: Metrics, count: int, ready: Callable[[str], None]
    ) -> None:
        self._hello = frame(Kind.HELLO, msgspec.json.encode(models))
        self._metrics = metrics
        self._count = count
        self._ready: Callable[[str], None] | None = ready
        self._start: bytes | None = None
        self._connections: set[FrontConnection] = set()
        self._ended_metrics = b""
        self._num_working: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.schedulers: Items[Scheduler] = ()

    def connect(self, connection: socket.socket) -> None:
        """Add a front, and tell it the models."""
        one = FrontConnection(self)
        self._connections.add(one)
        one.send(self._hello)
        self.run(one.stream.connect(connection))

    def begin(self, schedulers: Items[Scheduler]) -> None:
        """Let the fronts listen: the models are loaded. Once `count` fronts have loaded, all of them start."""
        self.schedulers = schedulers
        self._num_working = [one.num_working for one in schedulers]
        started = [StartedModel(one.engine_infos, one.num_working) for one in schedulers]
        self._start = frame(Kind.START, msgspec.json.encode(started))
        self.start_loaded()

    def start_loaded(self) -> None:
        """Let the fronts listen if the models and enough fronts are loaded."""
        loaded = [one for one in self._connections if one.has_loaded]
        if self._start is None or (self._ready and len(loaded) < self._count):
            return
        for one in loaded:
            if not one.has_started:
                one.has_started = True
                one.send(self._start)

    def listens(self, front: "FrontConnection", address: str) -> None:
        """A front listens."""
        front.send(self._working)
        if self._ready and sum(one.is_listening for one in self._connections) >= self._count:
            ready, self._ready = self._ready, None
            ready(address)

    def report_working(self) -> None:
        """Send the number of engines in service if it has changed. Must be called regularly."""
        counts = [one.num_working for one in self.schedulers]
        if counts != self._num_working:
            self._num_working = counts
            self._send_all(self._working)

    @property
    def _working(self) -> bytes:
        return frame(Kind.WORKING, msgspec.json.encode(self._num_working))

    def remove(self, connection: "FrontConnection") -> None:
        """A front has ended. What it counted still counts."""
        self._connections.discard(connection)
        self._ended_metrics = merged([self._ended_metrics, counters(connection.snapshot)])

    def collect(self, reply: Callable[[bytes], None]) -> None:
        """Reply with the metrics of each process."""
        self.run(self._collect(reply))

    async def _collect(self, reply: Callable[[bytes], None]) -> None:
        waits = [one.next_snapshot() for one in self._connections if one.is_listening]
        self._send_all(frame(Kind.SNAPSHOT))
        if waits:
            await asyncio.wait(waits, timeout=SNAPSHOT_TIMEOUT_S)
        reply(SEPARATOR.join((self._metrics.text(), self._ended_metrics, *(one.snapshot for one in self._connections))))

    def _send_all(self, content: bytes) -> None:
        for one in self._connections:
            if one.is_listening:
                one.send(content)

    def run(self, work: "asyncio._CoroutineLike[None]") -> None:
        """Run a coroutine in a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class FrontConnection:
    """The connection to a front, and its requests that are queued or running."""

    def __init__(self, fronts: Fronts) -> None:
        self._fronts = fronts
        self._requests: dict[int, tuple[Scheduler, Request, RemoteAnswer]] = {}
        self._snapshot_waits: list[asyncio.Future[None]] = []
        self.stream = FrameStream(FrameSplitter(MAX_REQUEST_BYTES), self._receive, self._lose)
        self.snapshot = b""
        self.has_loaded = self.has_started = self.is_listening = False

    def send(self, content: bytes) -> None:
        """Send a frame."""
        self.stream.send(content)

    def next_snapshot(self) -> "asyncio.Future[None]":
        """Finishes when the front has sent its metrics, or has ended."""
        self._snapshot_waits.append(asyncio.get_running_loop().create_future())
        return self._snapshot_waits[-1]

    def finish(self, request_id: int, content: bytes) -> None:
        """Answer a request."""
        self._requests.pop(request_id, None)
        self.stream.send(content)

    def _receive(self, frames: list[Frame]) -> None:
        """Queue all requests that arrive together, and fill the next batch once."""
        queued: set[Scheduler] = set()
        try:
            for received in frames:
                if received.kind == Kind.SUBMIT:
                    queued.add(self._queue(received))
                else:
                    self._receive_other(received)
        finally:
            for scheduler in queued:
                scheduler.prefetch()

    def _receive_other(self, received: Frame) -> None:
        match received.kind:
            case Kind.CANCEL:
                self._cancel(received.id)
            case Kind.EXPECT:
                self._scheduler(received).expect()
            case Kind.SNAPSHOT:
                self.snapshot = bytes(received.body)
                self._end_waits()
            case Kind.METRICS:
                self._fronts.collect(lambda text: self.send(frame(Kind.METRICS, text, id=received.id)))
            case Kind.LOADED:
                self.has_loaded = True
                self._fronts.start_loaded()
            case Kind.LISTENING:
                self.is_listening = True
                self._fronts.listens(self, bytes(received.body).decode(errors="replace"))
            case _:
                raise MalformedFrameError(f"a frame has the kind {received.kind}")

    def _scheduler(self, received: Frame) -> Scheduler:
        if received.model >= len(self._fronts.schedulers):
            raise MalformedFrameError(f"a frame is for model {received.model}, which does not exist")
        return self._fronts.schedulers[received.model]

    def _queue(self, received: Frame) -> Scheduler:
        scheduler = self._scheduler(received)
        sequences, output = decode_sequences(received.body)
        answer = RemoteAnswer(self, received.id)
        try:
            request = scheduler.queue(sequences, output, answer)
            self._requests[received.id] = scheduler, request, answer
        except OpenbeiError as error:
            answer.set_exception(error)
        return scheduler

    def _cancel(self, request_id: int) -> None:
        if request := self._requests.pop(request_id, None):
            scheduler, queued, answer = request
            answer.cancel()
            scheduler.end(queued)

    def _lose(self) -> None:
        """The front has ended, and nobody waits for its requests."""
        for request_id in list(self._requests):
            self._cancel(request_id)
        self._end_waits()
        self._fronts.remove(self)

    def _end_waits(self) -> None:
        for wait in self._snapshot_waits:
            if not wait.done():
                wait.set_result(None)
        self._snapshot_waits = []


class RemoteAnswer:
    """The answer to a request of a front; a `PendingAnswer`."""

    __slots__ = ("_connection", "_id", "_is_cancelled", "_is_done")

    def __init__(self, connection: FrontConnection, request_id: int) -> None:
        self._connection, self._id = connection, request_id
        self._is_done = self._is_cancelled = False

    def done(self) -> bool:
        """See `PendingAnswer`."""
        return self._is_done

    def cancelled(self) -> bool:
        """See `PendingAnswer`."""
        return self._is_cancelled

    def cancel(self) -> None:
        """The front no longer waits."""
        self._is_done = self._is_cancelled = True

    def set_result(self, result: Answer, /) -> None:
        """Send the answer."""
        self._is_done = True
        kind, buffers = encode_answer(result)
        self._connection.finish(self._id, frame(kind, *buffers, id=self._id))

    def set_exception(self, exception: BaseException, /) -> None:
        """Send the failure."""
        self._is_done = True
        self._connection.finish(self._id, frame(Kind.FAILURE, encode_failure(exception), id=self._id))
