"""Starts the engine process and the fronts, passes signals on, and replaces fronts that end.

Processes are forked from this one, which loads no model and has no threads. A new front gets a socket whose other end
is sent to the engine process.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from openbei.serving.process import ENGINE_LOST_STATUS

log = logging.getLogger(__name__)

RESTART_S = 1.0
"""The shortest time between two starts of a front."""

END_S = 10.0
"""How long fronts may take to end after the engine process has ended."""

SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)

READY = b"r"
"""Sent by the engine process when all fronts listen."""


class Control:
    """The engine process's connection to the supervisor."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        """The file descriptor to wait on."""
        return self._socket.fileno()

    def receive(self) -> socket.socket | None:
        """The socket of a new front, or None if the supervisor has ended. Waits for either."""
        with suppress(ConnectionError):  # it has ended without reading what was sent
            data, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
            if data:
                return socket.socket(fileno=descriptors[0])
        return None

    def report_ready(self) -> None:
        """All fronts listen."""
        self._socket.sendall(READY)


class Supervisor:
    """Runs `num_fronts` fronts and an engine process, each of which calls its function and then exits."""

    def __init__(
        self, num_fronts: int, run_engine: Callable[[Control], None], run_front: Callable[[socket.socket], None]
    ) -> None:
        self._num_fronts = num_fronts
        self._run_engine, self._run_front = run_engine, run_front
        self._fronts: dict[int, float] = {}  # process → when it started
        self._restarts_s: list[float] = []
        self._is_ready = self._is_stopping = False
        self._status: int | None = None

    def run(self) -> int:
        """Run until the engine process ends. Returns the exit status. In a new process, this does not return."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._control, engine_end = socket.socketpair()
        self._engine = self._fork(lambda: self._run_engine(Control(engine_end)), self._control)
        engine_end.close()
        for _ in range(self._num_fronts):
            self._start_front()
        log.info("engine process: %d; front processes: %s", self._engine, ", ".join(map(str, self._fronts)))
        while self._status is None:
            self._wait(self._seconds_to_restart)
            self._restart_fronts()
        self._end_fronts()
        return self._status

    def _start_front(self) -> int:
        """Start a front, and return its process id."""
        front_end, engine_end = socket.socketpair()
        started_s = time.monotonic()
        process = self._fork(lambda: self._run_front(front_end), self._control, engine_end)
        self._fronts[process] = started_s
        front_end.close()
        with suppress(ConnectionError):  # the engine process has ended
            socket.send_fds(self._control, [b"f"], [engine_end.fileno()])
        engine_end.close()
        return process

    def _fork(self, run: Callable[[], None], *others: socket.socket) -> int:
        """Start a process. It closes `others`, the sockets of other processes."""
        process = os.fork()
        if process:
            return process
        os.setpgid(0, 0)  # Ctrl-C goes to the supervisor only, which passes it on
        for other in others:
            other.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        run()
        raise SystemExit(0)

    @property
    def _seconds_to_restart(self) -> float | None:
        return max(min(self._restarts_s) - time.monotonic(), 0) if self._restarts_s else None

    def _wait(self, timeout_s: float | None) -> None:
        """Wait for a signal, and act on it."""
        received = signal.sigwaitinfo(SIGNALS) if timeout_s is None else signal.sigtimedwait(SIGNALS, timeout_s)
        if received is None:
            return
        if received.si_signo != signal.SIGCHLD:
            self._stop(received.si_signo)
        while self._fronts or self._status is None:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                break
            self._ended(process, os.waitstatus_to_exitcode(status))

    def _stop(self, signal_number: int) -> None:
        """Let the fronts finish their requests; the engine process ends after them."""
        self._is_stopping = True
        self._restarts_s = []
        for process in self._fronts:
            os.kill(process, signal_number)
        self._stop_engine()

    def _stop_engine(self) -> None:
        """Let the engine process end if no front is left."""
        if not self._fronts and self._status is None:
            os.kill(self._engine, signal.SIGTERM)

    def _ended(self, process: int, status: int) -> None:
        """A process has ended; a negative status is the number of a signal."""
        if process == self._engine:
            self._status = self._exit_status(status)
            if not self._is_stopping:
                log.critical("the engine process has ended (%d); the server stops", status)
        elif started_s := self._fronts.pop(process, None):
            self._front_ended(process, status, started_s)

    def _front_ended(self, process: int, status: int, started_s: float) -> None:
        if self._status is not None:  # because the engine process has ended
            return
        if self._is_stopping:
            self._stop_engine()
        elif status > 0 and not self._has_started():
            self._fail(status)
        else:
            if status or self._has_started():  # else it has lost the engine process, whose end is reported
                log.error("front process %d has ended (%d)", process, status)
            self._restarts_s.append(max(started_s + RESTART_S, time.monotonic()))

    def _exit_status(self, status: int) -> int:
        if status > 0 or (status == 0 and self._is_stopping):
            return status
        return 128 - status if self._is_stopping else ENGINE_LOST_STATUS

    def _has_started(self) -> bool:
        """Whether all fronts have listened, so that one that ends has not failed to start."""
        with suppress(BlockingIOError, ConnectionError):
            self._is_ready = self._is_ready or self._control.recv(1, socket.MSG_DONTWAIT) == READY
        return self._is_ready

    def _fail(self, status: int) -> None:
        """A front cannot start, for a reason that it has reported."""
        self._status = status
        os.kill(self._engine, signal.SIGKILL)
        os.waitpid(self._engine, 0)

    def _restart_fronts(self) -> None:
        now_s = time.monotonic()
        while self._status is None and self._restarts_s and min(self._restarts_s) <= now_s:
            self._restarts_s.remove(min(self._restarts_s))
            log.info("front process %d starts", self._start_front())

    def _end_fronts(self) -> None:
        """Wait for the fronts, which end because the engine process has ended."""
        ends_s = time.monotonic() + END_S
        while self._fronts and (left_s := ends_s - time.monotonic()) > 0:
            self._wait(left_s)
        for process in self._fronts:
            os.kill(process, signal.SIGKILL)
