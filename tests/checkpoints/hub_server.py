"""A server on loopback in the shape of the Hugging Face Hub: downloads of one model's files, and commits to it."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GATED, PRIVATE = "owner/gated", "owner/private"
TOKEN = "hf_token_for_tests"


class Hub(ThreadingHTTPServer):
    """Serves one folder as `repo`, and knows a gated and a private repository."""

    daemon_threads = True

    def __init__(self, repo: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo, self.folder = repo, folder
        self.requests: list[str] = []
        self.is_created = True

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serve_hub(repo: str, folder: Path) -> Iterator[Hub]:
    with Hub(repo, folder) as hub:
        thread = threading.Thread(target=hub.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0]).lstrip("/")
        self.server.requests.append(path)
        repo = "/".join(path.removeprefix("api/models/").split("/")[:2])
        if repo in (GATED, PRIVATE) and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(repo)
        if repo not in (self.server.repo, GATED, PRIVATE) or not self.server.is_created:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        rest = path.removeprefix("api/models/").removeprefix(repo).strip("/")
        kind, _, rest = rest.partition("/")
        revision, _, rest = rest.partition("/")
        if revision not in ("", "main", COMMIT):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        if kind == "resolve":
            return self._file(self.server.folder / rest)
        files = [file for file in sorted(self.server.folder.rglob("*")) if file.is_file()]
        return self._json(
            [self._entry(file) for file in files]
            if kind == "tree"
            else {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": self._name(file)} for file in files]}
        )

    def do_POST(self) -> None:
        """Create a repository, or commit files to it, all of them with their content in the commit."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = self.path.partition("?")[0]
        self.server.requests.append(f"POST {path.lstrip('/')}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
        if "/preupload/" in path:
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            return self._json({"files": files})
        self.server.is_created = True
        if "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    (self.server.folder / line["value"]["path"]).write_bytes(base64.b64decode(line["value"]["content"]))
        url = f"{self.server.endpoint}/{self.server.repo}"
        return self._json({"url": url, "commitUrl": f"{url}/commit/{COMMIT}", "commitOid": COMMIT, "hookOutput": ""})

    def _refuse(self, repo: str) -> None:
        if repo == GATED:
            return self._send(401, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        if "Authorization" in self.headers:
            return self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
        return self._send(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def _name(self, file: Path) -> str:
        return file.relative_to(self.server.folder).as_posix()

    def _entry(self, file: Path) -> dict[str, object]:
        return {"type": "file", "path": self._name(file), "size": file.stat().st_size, "oid": _etag(file)}

    def _file(self, file: Path) -> None:
        if not file.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        return self._send(200, file.read_bytes(), {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": COMMIT})

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
