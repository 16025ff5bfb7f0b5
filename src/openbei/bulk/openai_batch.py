"""OpenAI's batch files: a request for /v1/embeddings per line in, a line with its response out.

Each request is read by the code of the server, and so has the same fields, errors and embeddings. A request that the
server would refuse gets an error response; only a line that is not a request stops the run.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import msgspec

from openbei.api.dialects import decisions, openai
from openbei.api.exchange import errors
from openbei.api.exchange.decisions import check
from openbei.api.exchange.decoding import decode, non_null_fields
from openbei.api.exchange.encoding import encode
from openbei.api.limits import Limits
from openbei.batch import Output, Rows, Sequence, Vectors, concatenate
from openbei.bulk.inputs.records import count_lines
from openbei.bulk.outputs.output import Concatenated
from openbei.bulk.part import PART_ROWS, Columns, Part
from openbei.bulk.results import Types, Values
from openbei.digests import file_digest
from openbei.errors import InputError
from openbei.methods import require
from openbei.serving.loaded_model import LoadedModel
from openbei.tasks.embed import to_embeddings

PART_BYTES = 1 << 20
"""Bytes of a part's requests after which it ends, because a request may have many texts."""

URL = "/v1/embeddings"


class _Request(msgspec.Struct):
    """A line of the input."""

    custom_id: str
    body: msgspec.Raw
    url: str = URL
    method: str = "POST"


@dataclass
class _Job:
    """A request, what it needs, and its sequences; or the error that refused it."""

    custom_id: str
    body: msgspec.Raw
    work: openai.Work | None = None
    sequences: list[Sequence] = field(default_factory=list)
    error: Exception | None = None


class Batch:
    """A batch file, as a source."""

    row_name = "line"

    def __init__(self, path: Path) -> None:
        self.name, self._path = str(path), path

    def digest(self) -> str | None:
        """See Source."""
        return file_digest(self._path)

    def num_rows(self) -> int | None:
        """See Source. The number of requests, without blank lines."""
        with self._path.open("rb") as file:
            return count_lines(file)

    def columns(self) -> Columns:
        """See Source."""
        return {}

    def parts(self, first: int) -> Iterator[Part]:
        """See Source."""
        return islice(self._parts(), first, None)

    def _parts(self) -> Iterator[Part]:
        with self._path.open("rb") as file:
            positions: list[int] = []
            jobs: list[_Job] = []
            num_bytes = 0
            for index, line in enumerate(file):
                if line.strip():
                    positions.append(index)
                    jobs.append(self._job(index, line))
                    num_bytes += len(line)
                if len(jobs) == PART_ROWS or num_bytes >= PART_BYTES:
                    yield Part(positions, [], jobs)
                    positions, jobs, num_bytes = [], [], 0
            if jobs:
                yield Part(positions, [], jobs)

    def _job(self, index: int, line: bytes) -> _Job:
        where = f"{self.name}, line {index + 1}"
        try:
            request = msgspec.json.decode(line, type=_Request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            hint = "a line is an object with custom_id, method, url and body"
            raise InputError(f"{where}: {error}", hint=hint) from error
        if (request.method, request.url) != ("POST", URL):
            raise InputError(f"{where}: {request.method} {request.url} is not POST {URL}")
        return _Job(request.custom_id, request.body)


class _Server(NamedTuple):
    limits: Limits


class _Context(NamedTuple):
    """What the code of the server needs to read a request."""

    model: LoadedModel
    server: _Server


class Task:
    """The embeddings of the requests, as bulk.run needs it."""

    name = "embed"
    output: Output = "pooled"

    def __init__(self, model: LoadedModel, *, truncate: bool) -> None:
        require(model.manifest, "embed")
        self.types: Types = {}
        self._context = _Context(model, _Server(Limits(auto_truncate=truncate)))

    def encode(self, part: Part) -> list[Sequence]:
        """The sequences of all requests that are not refused."""
        for job in part.kept:
            try:
                job.work = self._work(job.body)
                job.sequences = job.work.tokenization.work()
            except InputError as error:
                job.error = error
        return [sequence for job in part.kept for sequence in job.sequences]

    def _work(self, body: msgspec.Raw) -> openai.Work:
        fields = non_null_fields(body)
        check(fields, decisions.EMBEDDINGS)
        return openai.work_of(self._context, decode(body, openai.DECODER), fields)

    def results(self, part: Part, rows: list[Rows]) -> dict[str, Values]:
        """The lines of the output."""
        remaining = iter(rows)
        return {
            "line": [
                self._line(position, job, [*islice(remaining, len(job.sequences))])
                for position, job in zip(part.positions, part.kept, strict=True)
            ]
        }

    def _line(self, position: int, job: _Job, rows: list[Rows]) -> bytes:
        try:
            status, body = 200, self._response(job, rows)
        except InputError as error:
            reply = errors.reply(error)
            status, body = reply.status, cast(bytes, reply.answer)
        response = {"status_code": status, "request_id": f"req_{position}", "body": msgspec.Raw(body)}
        line = {"id": f"batch_req_{position}", "custom_id": job.custom_id, "response": response, "error": None}
        return msgspec.json.encode(line) + b"\n"

    def _response(self, job: _Job, rows: list[Rows]) -> bytes:
        if job.work is None or job.error is not None:
            raise job.error or AssertionError("a request without work has an error")
        model = self._context.model
        vectors = to_embeddings(
            cast(Vectors, concatenate(rows)),
            normalize=job.work.normalize,
            dimensions=job.work.dimensions or model.manifest.dimensions,
        )
        num_tokens = sum(sequence.num_tokens_given for sequence in job.sequences)
        body, _ = encode(job.work.response(vectors, model.name, num_tokens))
        return body


class Lines(Concatenated):
    """The output file."""

    def __init__(self, name: str, kept: Callable[[], Columns], types: Types) -> None:
        pass

    def write_part(self, file: BinaryIO, part: Part, results: Mapping[str, Values]) -> None:
        """See Output."""
        file.writelines(results["line"])
