"""A server on loopback for one archive: with ETag, ranges and conditions, and able to cut connections."""

import contextlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def tar_gz(folder: Path, inside: str = "") -> bytes:
    """A tar.gz archive of a folder's files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as archive:
        archive.add(folder, arcname=inside or ".")
    return buffer.getvalue()


class ArchiveServer(ThreadingHTTPServer):
    """Serves `content` at every path. `cut_after` are the bytes after which the next connections are cut."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.etag = content, '"v1"'
        self.status, self.location = 200, ""
        self.cut_after: list[int] = []
        self.sent: list[tuple[int, int]] = []

    def url(self, path: str = "model.tar.gz") -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


@contextlib.contextmanager
def serve_archive(content: bytes) -> Iterator[ArchiveServer]:
    with ArchiveServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: ArchiveServer

    def do_GET(self) -> None:
        server, start = self.server, 0
        if server.location:
            return self._respond(302, {"Location": server.location, "Content-Length": "0"})
        if server.status != 200:
            return self._respond(server.status, {"Content-Length": "0"})
        if self.headers["If-None-Match"] == server.etag:
            server.sent.append((304, 0))
            return self._respond(304, {})
        if self.headers["Range"] and self.headers["If-Range"] == server.etag:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = server.content[start:]
        status = 206 if start else 200
        server.sent.append((status, start))
        self._respond(status, {"Content-Length": str(len(body)), "ETag": server.etag})
        if server.cut_after:
            body = body[: server.cut_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)
        return None

    def _respond(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""
