"""The scheduler of a front: sends requests to the engine process and receives their answers."""

import asyncio
import math
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from openbei.batch import EngineInfo, Output, Sequence
from openbei.errors import InputError, OpenbeiError, OverloadedError, UnavailableError
from openbei.serving.fronts.exposition import merged
from openbei.serving.fronts.frames import (
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    SEPARATOR,
    Frame,
    Kind,
    MalformedFrameError,
    ModelDescription,
    StartedModel,
    decode_answer,
    decode_failure,
    decode_json,
    encode_sequences,
    frame,
)
from openbei.serving.fronts.stream import FrameSplitter, FrameStream
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.request import Answer

FULL_S = 0.005
"""How long requests are refused without being sent to the engine process after it refused one."""

ENDED = "the engine process has ended"

CHUNK_BYTES = 1 << 16


class EngineConnectionError(Exception):
    """The engine process has ended, or closed the connection."""


class EngineConnection:
    """The connection of a front to the engine process, which all its models share.

    `models` and `started` block until the engine process has opened and loaded the models; then `start` must be called
    on the event loop. They raise EngineConnectionError.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._splitter = FrameSplitter(MAX_ANSWER_BYTES)
        self._stream: FrameStream | None = None
        self._last_id = 0
        self._waiting: dict[int, tuple[asyncio.Future[Answer], RemoteScheduler]] = {}
        self._metrics: dict[int, asyncio.Future[bytes]] = {}
        self._schedulers: list[RemoteScheduler] = []
        self._snapshot: Callable[[], bytes] = bytes
        self.is_lost = False

    def models(self) -> list[ModelDescription]:
        """The models, before they are loaded."""
        models: list[ModelDescription] = decode_json(self._await(Kind.HELLO), list[ModelDescription])
        return models

    def started(self) -> list[StartedModel]:
        """Report that the tokenizers are loaded, and wait for the engines of all models."""
        with suppress(OSError):  # the engine process has ended, as the next line finds
            self._socket.sendall(frame(Kind.LOADED))
        started: list[StartedModel] = decode_json(self._await(Kind.START), list[StartedModel])
        return started

    def _await(self, kind: Kind) -> memoryview:
        """The body of the next frame, which must be of a kind."""
        frames: list[Frame] = []
        while not frames:
            try:
                data = self._socket.recv(CHUNK_BYTES)
            except OSError as error:
                raise EngineConnectionError from error
            if not data:
                raise EngineConnectionError
            frames = self._splitter.split(data)
        [first] = frames
        if first.kind != kind:
            raise MalformedFrameError(f"a frame of kind {first.kind} came instead of {kind}")
        return first.body

    def start(self, scheduler: "RemoteScheduler") -> None:
        """Add a scheduler, and connect if it is the first one."""
        self._schedulers.append(scheduler)
        if self._stream is None:
            self._stream = FrameStream(self._splitter, self._receive, self._lose)
            self._connecting = asyncio.get_running_loop().create_task(self._stream.connect(self._socket))

    def announce(self, address: str) -> None:
        """Report that the front listens."""
        self._send(frame(Kind.LISTENING, address.encode()))

    def metrics(self, snapshot: Callable[[], bytes]) -> Callable[[], Awaitable[bytes]]:
        """A function that collects the metrics of all processes. `snapshot` are those of this one."""
        self._snapshot = snapshot
        return self._collect

    async def _collect(self) -> bytes:
        if self.is_lost:
            raise UnavailableError(ENDED)
        request_id = self._new_id()
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._metrics[request_id] = future
        try:
            self._send(frame(Kind.METRICS, id=request_id))
            texts = await future
        finally:
            del self._metrics[request_id]
        return await asyncio.to_thread(merged, texts.split(SEPARATOR))

    def submit(
        self, scheduler: "RemoteScheduler", model: int, sequences: list[Sequence], output: Output
    ) -> "asyncio.Future[Answer]":
        """Send a request. The future raises what the engine process answers, or UnavailableError.

        Raises InputError for a request whose frame is too large.
        """
        request_id = self._new_id()
        content = frame(Kind.SUBMIT, *encode_sequences(sequences, output), id=request_id, model=model)
        if len(content) > MAX_REQUEST_BYTES:
            num_tokens = sum(sequence.num_tokens for sequence in sequences)
            raise InputError(f"the request has {num_tokens} tokens, which is too many", hint="send fewer texts")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = future, scheduler
        future.add_done_callback(partial(self._done, request_id))
        self._send(content)
        return future

    def expect(self, model: int) -> None:
        """Announce a request, unless others are waiting for their answers."""
        if not self._waiting:
            self._send(frame(Kind.EXPECT, model=model))

    async def finish(self, deadline_s: float) -> None:
        """Wait for all answers. After `deadline_s` seconds, the other requests fail. Then send the last metrics."""
        if self._waiting and not self.is_lost:
            await asyncio.wait([future for future, _ in self._waiting.values()], timeout=deadline_s)
        self._fail_all("the server shut down before the request finished")
        self._send(frame(Kind.SNAPSHOT, self._snapshot()))

    def _new_id(self) -> int:
        self._last_id = (self._last_id + 1) % (1 << 32)
        return self._last_id

    def _send(self, content: bytes) -> None:
        if self._stream and not self.is_lost:
            self._stream.send(content)

    def _done(self, request_id: int, future: "asyncio.Future[Answer]") -> None:
        """Cancel a request that is not answered."""
        if self._waiting.pop(request_id, None):
            self._send(frame(Kind.CANCEL, id=request_id))

    def _receive(self, frames: list[Frame]) -> None:
        for received in frames:
            match received.kind:
                case Kind.ROWS | Kind.SPARSE_ROWS:
                    self._answer(received, decode_answer(received))
                case Kind.FAILURE:
                    self._answer(received, decode_failure(received.body))
                case Kind.SNAPSHOT:
                    self._send(frame(Kind.SNAPSHOT, self._snapshot()))
                case Kind.METRICS:
                    if (metrics := self._metrics.get(received.id)) and not metrics.done():
                        metrics.set_result(bytes(received.body))
                case Kind.WORKING:
                    counts: list[int] = decode_json(received.body, list[int])
                    for scheduler, count in zip(self._schedulers, counts, strict=False):
                        scheduler.num_working = count
                case _:
                    raise MalformedFrameError(f"a frame has the kind {received.kind}")

    def _answer(self, received: Frame, answer: Answer | OpenbeiError) -> None:
        future, scheduler = self._waiting.pop(received.id, (None, None))
        if future is None or scheduler is None or future.done():
            return
        scheduler.observe(answer)
        if isinstance(answer, Answer):
            future.set_result(answer)
        else:
            future.set_exception(answer)

    def _lose(self) -> None:
        self.is_lost = True
        self._fail_all(ENDED)

    def _fail_all(self, message: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(UnavailableError(message))
        for metrics in self._metrics.values():
            if not metrics.done():
                metrics.set_exception(UnavailableError(message))


class RemoteScheduler:
    """A `RequestScheduler` of the model with an index, whose engines are in the engine process.

    That process has the queue: its limits are for all fronts together.
    """

    def __init__(self, connection: EngineConnection, index: int, started: StartedModel, limits: QueueLimits) -> None:
        self._connection, self._index, self._limits = connection, index, limits
        self._engine_infos = started.engines
        self.num_working = started.num_working
        self._is_accepting = self._is_draining = False
        self._last_success_s = -math.inf
        self._refusal: OverloadedError | None = None
        self._full_until_s = -math.inf

    @property
    def engine_infos(self) -> list[EngineInfo]:
        """See `Scheduler`."""
        return self._engine_infos

    @property
    def limits(self) -> QueueLimits:
        """See `Scheduler`."""
        return self._limits

    @property
    def is_healthy(self) -> bool:
        """Whether requests are accepted, and the engine process runs."""
        return self._is_accepting and not self._connection.is_lost

    @property
    def has_lost_engine(self) -> bool:
        """Whether the engine process has ended."""
        return self._connection.is_lost

    @property
    def has_taken_out(self) -> bool:
        """Whether the engine process has ended."""
        return self._connection.is_lost

    @property
    def tokenizes_on_loop(self) -> bool:
        """Always: other cores have fronts of their own."""
        return True

    @property
    def is_draining(self) -> bool:
        """See `Scheduler`."""
        return self._is_draining

    @property
    def is_hung(self) -> bool:
        """Never: the engine process ends itself if its engines hang."""
        return False

    @property
    def seconds_since_success(self) -> float:
        """Seconds since the last answer to this front; infinite before the first."""
        return time.monotonic() - self._last_success_s

    def start(self) -> None:
        """See `Scheduler`."""
        self._is_accepting = True
        self._connection.start(self)

    def take_out_hung(self) -> None:
        """Do nothing: the engine process does it."""

    def expect(self) -> None:
        """See `Scheduler`."""
        self._connection.expect(self._index)

    def submit(self, sequences: list[Sequence], output: Output = "pooled") -> "asyncio.Future[Answer]":
        """See `Scheduler`. The future also raises OverloadedError and InputError."""
        self.check_room()
        return self._connection.submit(self, self._index, sequences, output)

    def check_room(self) -> None:
        """Raise UnavailableError, or OverloadedError if the engine process has just refused a request."""
        if not self.is_healthy:
            raise UnavailableError("the server is shutting down or its engine has stopped", hint="try another replica")
        if self._refusal and time.monotonic() < self._full_until_s:
            refusal = self._refusal
            raise OverloadedError(refusal.message, retry_after_s=refusal.retry_after_s, hint=refusal.hint)

    def observe(self, answer: Answer | OpenbeiError) -> None:
        """Record an answer of the engine process."""
        if isinstance(answer, Answer):
            self._last_success_s = time.monotonic()
            self._refusal = None
        elif isinstance(answer, OverloadedError):
            self._refusal, self._full_until_s = answer, time.monotonic() + FULL_S

    def drain(self) -> None:
        """See `Scheduler`."""
        self._is_draining = True

    async def close(self, deadline_s: float) -> None:
        """See `Scheduler`. The requests to all models of the front are finished."""
        self._is_accepting = False
        await self._connection.finish(deadline_s)
