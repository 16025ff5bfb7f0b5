"""Uploads of Google Cloud Storage's XML API in front of fake-gcs-server, which has only those of the JSON API.

obstore writes by `PUT /BUCKET/OBJECT`, as Google documents it (https://cloud.google.com/storage/docs/xml-api/put-object-upload).
fake-gcs-server takes this for the upload to a signed URL and refuses it: 400, invalid uploadType.
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP_BY_HOP = ("connection", "content-length", "transfer-encoding")


@contextlib.contextmanager
def xml_uploads(port: int) -> Iterator[int]:
    """The port of a proxy that turns uploads of the XML API into uploads of the JSON API, and passes on the rest."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            _, bucket, name = self.path.split("/", 2)
            path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}"
            status, _, content = self._forward("POST", path)
            headers = [("ETag", json.loads(content)["etag"])] if status == 200 else []
            self._respond(status, headers, b"" if status == 200 else content)

        def do_GET(self) -> None:
            self._respond(*self._forward(self.command, self.path))

        do_HEAD = do_POST = do_DELETE = do_GET

        def _forward(self, method: str, path: str) -> tuple[int, list[tuple[str, str]], bytes]:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=30)) as server:
                server.request(method, path, body, dict(self.headers))
                response = server.getresponse()
                kept = [item for item in response.getheaders() if item[0].lower() not in HOP_BY_HOP]
                if self.command == "HEAD":
                    kept.append(("Content-Length", response.getheader("content-length", "0")))
                return response.status, kept, response.read()

        def _respond(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Logs nothing."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield proxy.server_port
    finally:
        proxy.shutdown()
        proxy.server_close()
