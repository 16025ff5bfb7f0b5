"""Threads that tokenize short texts while a batch runs, to relieve the event loop.

Each takes its share of the waiting texts, up to a limit, so that a busy server wakes threads less often per text.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

Job = tuple["asyncio.Future[Any]", Callable[[], Any]]

MAX_THREADS = 4
"""Threads spend a third of their time in Python, which only one thread can run at a time."""

MAX_JOBS = 16
"""Maximum jobs whose results are delivered together, about half a millisecond of work."""


class TokenizerThreads:
    """Runs functions in `threads`. `start` must be called on the event loop."""

    def __init__(self, num_threads: int | None = None) -> None:
        self._num_threads = num_threads or min(MAX_THREADS, os.cpu_count() or 1)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self.threads = [
            threading.Thread(target=self._work, name=f"tokenizer-{i}", daemon=True) for i in range(self._num_threads)
        ]

    def start(self) -> None:
        """Start the threads. Must be called once, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        for thread in self.threads:
            thread.start()

    def run(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """The result of a function that a thread calls, unless the future is cancelled first."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((future, function))
        return future

    def close(self) -> None:
        """End the threads once they have called the functions that wait."""
        for _ in self.threads:
            self._jobs.put(None)

    def _work(self) -> None:
        while job := self._jobs.get():
            jobs = [job, *self._waiting()]
            results = [(future, _outcome(function)) for future, function in jobs if not future.cancelled()]
            try:
                self._loop.call_soon_threadsafe(_deliver, results)
            except RuntimeError:  # the loop is closed, so nothing waits for results
                return

    def _waiting(self) -> Iterator[Job]:
        """This thread's share of the jobs that wait."""
        for _ in range(min(MAX_JOBS - 1, self._jobs.qsize() // self._num_threads)):
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            if job is None:
                self._jobs.put(None)
                return
            yield job


def _outcome(function: Callable[[], object]) -> object:
    """The result of a function, or its exception as a value."""
    try:
        return function()
    except BaseException as error:  # must not end the thread
        return error


def _deliver(results: Iterable[tuple["asyncio.Future[Any]", object]]) -> None:
    for future, result in results:
        if future.done():  # cancelled
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
