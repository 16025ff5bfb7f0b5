"""The way of every inference request: its body, texts to sequences, sequences through the scheduler, what it cost."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import msgspec

from openbei.api.call import Call
from openbei.api.service import Limits, Service
from openbei.api.wire.decisions import Decisions, check
from openbei.api.wire.decoding import Fields, check_size, decode, given_fields
from openbei.batch import Output, Rows, Sequence, Vectors
from openbei.errors import InputError
from openbei.serving import cancellation
from openbei.serving.library import INLINE_CHARACTERS

T = TypeVar("T")


INLINE_BYTES = 262_144
"""Up to here a body is decoded at once (less than a millisecond); a larger one in a thread."""


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body, and the fields that it gives."""

    content: bytes
    given: Fields

    async def decode(self, decoder: "msgspec.json.Decoder[T]", decisions: Decisions) -> T:
        """The request. Raises MalformedBodyError, InputError, also for a field that is refused."""
        check(self.given, decisions)
        return await _read(self.content, lambda content: decode(content, decoder))


async def body(service: Service, call: Call) -> Body:
    """The body of a request. Raises BodyTooLargeError, MalformedBodyError, InputError."""
    return await _read(await call.body(service.limits.max_body_bytes), _opened)


async def read(service: Service, call: Call, decoder: "msgspec.json.Decoder[T]", decisions: Decisions) -> T:
    """The request. Raises as `body` and `Body.decode` do."""
    return await (await body(service, call)).decode(decoder, decisions)


async def _read(content: bytes, function: Callable[[bytes], T]) -> T:
    return function(content) if len(content) <= INLINE_BYTES else await asyncio.to_thread(function, content)


def _opened(content: bytes) -> Body:
    check_size(content)
    return Body(content, given_fields(content))


async def tokenize(
    service: Service,
    call: Call,
    work: Callable[[], list[Sequence]],
    *,
    num_inputs: int,
    num_characters: int = 0,
    num_ids: int = 0,
) -> list[Sequence]:
    """Make sequences, in a thread if there is much to read, and account for them in `call.measured`.

    Raises InputError where a part of a request has more inputs than are left to it, or a request has more characters
    to read than bytes are allowed; OverloadedError and UnavailableError where the queue would not take it.
    """
    started_s = time.monotonic()
    call.check_deadline()
    service.scheduler.check_room()
    _check_characters(call.total("characters", num_characters), service.limits)
    total, most = call.total("inputs", num_inputs), service.limits.max_client_batch_size
    if total > max(most, num_inputs):
        raise InputError(
            f"the instances have {total} texts and more together; the limit is {most}",
            param="instances",
            hint="send them in several requests",
        )
    sequences = await off_loop(call, work, num_characters + num_ids)
    measured = call.measured
    measured.tokenization_s += time.monotonic() - started_s
    measured.num_characters += num_characters
    measured.num_inputs += len(sequences)
    measured.num_tokens += sum(sequence.num_tokens_given for sequence in sequences)
    measured.num_truncated += sum(sequence.is_truncated for sequence in sequences)
    return sequences


async def off_loop(call: Call, function: Callable[[], T], num_characters: int) -> T:
    """Call a function that reads so much text: at once if that is little, else in a thread.

    In a thread it is cancelled when the client leaves or its time limit passes: raises ClientDisconnect, DeadlineError.
    """
    if num_characters <= INLINE_CHARACTERS:
        return function()
    return await call.result(asyncio.ensure_future(cancellation.in_thread(function)))


def _check_characters(count: int, limits: Limits) -> None:
    """A query counts for each text that it is read with: a small body must not make more work than a large one."""
    if count > limits.max_body_bytes:
        raise InputError(
            f"there are {count} characters to read, a query once for each text; the limit is {limits.max_body_bytes}",
            hint="send fewer texts at a time",
        )


async def infer(service: Service, call: Call, sequences: list[Sequence], output: Output = "pooled") -> Rows:
    """Run sequences. Raises what the scheduler raises, ClientDisconnect, DeadlineError."""
    answer = await call.result(service.scheduler.submit(sequences, output))
    call.measured.queue_s += answer.queue_s
    call.measured.inference_s += answer.inference_s
    return answer.rows


async def infer_dense(service: Service, call: Call, sequences: list[Sequence], output: Output = "pooled") -> Vectors:
    """The same, for models whose rows are not sparse."""
    return cast(Vectors, await infer(service, call, sequences, output))
