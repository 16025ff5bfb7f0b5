"""The supervisor: exit statuses, processes that are replaced, and its own end, with processes that do nothing else."""

import socket
import subprocess
import sys

import pytest

from openbei.serving.fronts.supervisor import Control

PROGRAM = """
import os, signal, sys, time
from openbei.serving.fronts.supervisor import Supervisor

def wait_for_end(connection):
    while connection.recv(1):
        pass

def run_engine(control):
    fronts = [control.receive() for _ in range(2)]
    {engine}
    while one := control.receive():
        fronts.append(one)
        {engine_with_another_front}

def run_front(connection):
    {front}
    wait_for_end(connection)

sys.exit(Supervisor(2, run_engine, run_front).run())
"""


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"engine": "os.kill(os.getppid(), signal.SIGTERM)"}, 128 + 15),
        ({"front": "sys.exit(3)"}, 3),
        ({"front": "os.kill(os.getpid(), signal.SIGKILL)", "engine_with_another_front": "sys.exit(6)"}, 6),
        (
            {
                "engine": "control.report_ready(); fronts[0].send(b'.')",
                "front": "connection.recv(1); sys.exit(1)",
                "engine_with_another_front": "sys.exit(7)",
            },
            7,
        ),
    ],
)
def test_statuses(parts: dict[str, str], status: int) -> None:
    """In the last case but one, a front is replaced; in the last, one that ends with an error after the start."""
    code = {"engine": "pass", "front": "pass", "engine_with_another_front": "pass"} | parts
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(**code)], timeout=30)
    assert done.returncode == status


def test_sockets_of_fronts_and_the_end_of_the_supervisor() -> None:
    ours, theirs = socket.socketpair()
    control = Control(ours)
    front, other = socket.socketpair()
    socket.send_fds(theirs, [b"f"], [other.fileno()])
    received = control.receive()
    assert received
    received.sendall(b"a")
    assert front.recv(1) == b"a"
    control.report_ready()
    theirs.close()  # without having read that
    assert control.receive() is None
    assert control.receive() is None
    for one in (ours, front, other, received):
        one.close()
