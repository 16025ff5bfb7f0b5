"""The inference pipeline, from a request's body to its answer: read → validate → tokenize → schedule → finish.

A handler calls `read`, checks the request against `limits`, and calls `run` with two functions: one tokenizes the
inputs to sequences, the other makes the answer from the engine's rows. Long work runs in a thread and is cancelled if
the client disconnects.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar, cast

import msgspec
import numpy as np

from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call
from openbei.api.exchange.decisions import Decisions, check
from openbei.api.limits import check_work
from openbei.api.service import Service
from openbei.batch import Output, Sequence, Vectors
from openbei.serving import cancellation
from openbei.serving.library import INLINE_CHARACTERS
from openbei.serving.reuse import Reuse

T = TypeVar("T")

INLINE_NUMBERS = 65_536
"""Up to this number, rows are finished on the event loop (less than a millisecond); more of them in a thread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokenization:
    """A function that tokenizes a request's inputs to sequences, and the size of its work."""

    work: Callable[[], list[Sequence]]
    num_inputs: int
    num_characters: int = 0
    num_ids: int = 0

    def __add__(self, other: "Tokenization") -> "Tokenization":
        """Run both functions in order, and concatenate their sequences."""
        return Tokenization(
            work=lambda: self.work() + other.work(),
            num_inputs=self.num_inputs + other.num_inputs,
            num_characters=self.num_characters + other.num_characters,
            num_ids=self.num_ids + other.num_ids,
        )


async def read(body: Body, decoder: "msgspec.json.Decoder[T]", decisions: Decisions) -> T:
    """Decode a body. Raises MalformedBodyError, and InputError, also for a field that is refused."""
    check(body.fields, decisions)
    return await body.decode(decoder)


async def run(
    service: Service,
    call: Call,
    tokenization: Tokenization,
    finish: Callable[[Vectors, list[Sequence]], T],
    *,
    output: Output = "pooled",
    check_sequences: Callable[[list[Sequence]], None] | None = None,
) -> T:
    """The result of `finish`, which gets the engine's rows for `output` and their sequences.

    Rows are SparseVectors if the model is sparse. `check_sequences` may raise InputError before the engine runs. Raises
    InputError for a request above its limits; OverloadedError, UnavailableError and EngineError as the scheduler does;
    ClientDisconnectError and DeadlineError if the client no longer waits.
    """
    # Validate, before anything is tokenized. Results from the cache need no room in the queue.
    call.check_deadline()
    if service.cache is None:
        service.scheduler.check_room()
    num_inputs, num_characters = tokenization.num_inputs, tokenization.num_characters
    check_work(call.totals, service.server.limits, num_inputs=num_inputs, num_characters=num_characters)

    # Tokenize, while the engine's threads wake up.
    service.scheduler.expect()
    start_s = time.monotonic()

    def tokenize() -> tuple[list[Sequence], Reuse]:
        sequences = tokenization.work()
        return sequences, Reuse(sequences, output, service.cache)

    if num_characters + tokenization.num_ids > INLINE_CHARACTERS:
        sequences, reuse = await off_loop(call, tokenize, is_long=True)
    elif service.scheduler.tokenizes_on_loop:
        sequences, reuse = tokenize()  # the engine waits for it, and a thread would have to be woken
    else:
        sequences, reuse = await call.result(service.server.tokenizer_threads.run(tokenize))
    call.measured.add_tokenization(sequences, num_characters, time.monotonic() - start_s)
    if check_sequences:
        check_sequences(sequences)

    # Schedule what must be computed.
    computed = None
    if not reuse.is_complete:
        answer = await call.result(service.scheduler.submit(reuse.missing, output))
        call.measured.queue_s += answer.queue_s
        call.measured.inference_s += answer.inference_s
        computed = answer.rows

    def finish_rows() -> T:
        result = finish(cast(Vectors, reuse.rows(computed)), sequences)
        reuse.keep(computed)  # not before `finish` has checked that the rows are finite
        return result

    # Finish.
    return await off_loop(call, finish_rows, is_long=reuse.num_numbers(computed) > INLINE_NUMBERS)


async def off_loop(call: Call, function: Callable[[], T], *, is_long: bool) -> T:
    """Call a function, in a thread if it takes long (more than about a millisecond).

    In a thread it is cancelled if the client disconnects, or its deadline passes. Raises what `Call.result` raises.
    """
    if not is_long:
        return function()
    return await call.result(asyncio.ensure_future(cancellation.in_thread(function)))


def split_by_sequence(rows: Vectors, sequences: list[Sequence]) -> list[Vectors]:
    """Split rows of tokens into those of each sequence."""
    return np.split(rows, list(accumulate(sequence.num_tokens for sequence in sequences))[:-1])
