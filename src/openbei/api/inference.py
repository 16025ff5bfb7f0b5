"""The way of every inference request: its body, texts to sequences, sequences through the scheduler, what it cost."""

import time
from collections.abc import Callable
from typing import TypeVar, cast

import msgspec

from openbei.api.call import Call
from openbei.api.service import Service
from openbei.api.wire import decode
from openbei.batch import Output, Rows, Sequence, Vectors

T = TypeVar("T")


async def body(service: Service, call: Call) -> bytes:
    """The body of a request. Raises BodyTooLargeError."""
    return await call.body(service.limits.max_body_bytes)


async def read(service: Service, call: Call, decoder: "msgspec.json.Decoder[T]") -> T:
    """The request. Raises MalformedBodyError, InputError."""
    return decode(await body(service, call), decoder)


async def tokenize(
    service: Service, call: Call, work: Callable[[], list[Sequence]], num_characters: int, num_ids: int = 0
) -> list[Sequence]:
    """Make sequences, in a thread if there is much to read, and account for them in `call.measured`."""
    started_s = time.monotonic()
    call.check_deadline()
    sequences = await service.tokenizer.off_loop(work, num_characters + num_ids)
    measured = call.measured
    measured.tokenization_s += time.monotonic() - started_s
    measured.num_characters += num_characters
    measured.num_inputs += len(sequences)
    measured.num_tokens += sum(sequence.num_tokens_given for sequence in sequences)
    measured.num_truncated += sum(sequence.is_truncated for sequence in sequences)
    return sequences


async def infer(service: Service, call: Call, sequences: list[Sequence], output: Output = "pooled") -> Rows:
    """Run sequences. Raises what the scheduler raises, ClientDisconnect, DeadlineError."""
    answer = await call.result(service.scheduler.submit(sequences, output))
    call.measured.queue_s += answer.queue_s
    call.measured.inference_s += answer.inference_s
    return answer.rows


async def infer_dense(service: Service, call: Call, sequences: list[Sequence], output: Output = "pooled") -> Vectors:
    """The same, for models whose rows are not sparse."""
    return cast(Vectors, await infer(service, call, sequences, output))
