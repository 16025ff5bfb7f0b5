"""Where the snippets of a page run: a folder with the files that pages mention, `bei` on the PATH, and a server.

Pages use port 7997, or another in their commands; here it is whatever port is free.
"""

import contextlib
import io
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

SERVE = re.compile(r"\bbei serve\b")
TIMEOUT_S = 120


class Sandbox:
    """Runs snippets one after the other. `start` gives the port of a running server for a task."""

    def __init__(self, folder: Path, variables: Mapping[str, str], start: Callable[[str], int]) -> None:
        self._folder, self._start = folder, start
        self._own_port = _free_port()
        self._port = self._own_port
        self._variables = {**variables, "OPENBEI_PORT": str(self._own_port)}
        self._server: subprocess.Popen[str] | None = None
        self._names: dict[str, Any] = {"__name__": "snippet"}

    def use(self, task: str) -> None:
        """Send the following requests to a server for a task."""
        self._port = self._start(task)

    def run(self, language: str, code: str) -> str:
        """Output of a block. Raises if it fails."""
        code = re.sub(r"(127\.0\.0\.1:|localhost:|--port )\d+", lambda found: f"{found[1]}{self._port}", code)
        return {"bash": self._bash, "python": self._python, "js": self._javascript}[language](code)

    def close(self) -> None:
        """Stop the server that a page started."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.communicate()
            self._server = None

    def _bash(self, code: str) -> str:
        if not SERVE.search(code):
            return self._finished("bash", "-euc", code)
        [line] = [line for line in code.splitlines() if line.strip()]
        return self._serve(line)

    def _serve(self, line: str) -> str:
        """Run `bei serve` until it is ready; it then answers until the next one."""
        self.close()
        self._port = self._own_port
        self._server = subprocess.Popen(
            ["bash", "-c", line.replace("7997", str(self._port))],
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        log = ""
        for written in self._server.stderr or ():
            log += written.replace(str(self._port), "7997")
            if "ready on" in written:
                return log
        raise AssertionError(f"{line} ended:\n{log}")

    def _python(self, code: str) -> str:
        before = Path.cwd()
        os.chdir(self._folder)
        try:
            with patch.dict(os.environ, self._variables), contextlib.redirect_stdout(io.StringIO()) as written:
                exec(compile(code, "snippet", "exec"), self._names)
        finally:
            os.chdir(before)
        return written.getvalue()

    def _javascript(self, code: str) -> str:
        return self._finished("node", "--input-type=module", "-e", code) if shutil.which("node") else ""

    def _finished(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
