"""The frames between a front and the engine process, and the encoding of their bodies.

A frame is a HEADER and a body. Its length is rounded up to a multiple of 8 bytes, so that the arrays in it are aligned.
Numbers have the byte order of the machine, because both processes run on it.
"""

import struct
from array import array
from enum import IntEnum
from typing import Any, NamedTuple, cast, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from openbei.batch import EngineInfo, Output, Rows, Sequence, SparseVectors
from openbei.engine_dir import Manifest
from openbei.errors import (
    EmptyInputError,
    EngineError,
    EngineLostError,
    InputError,
    OpenbeiError,
    OverloadedError,
    UnavailableError,
)
from openbei.prompts import Prompts
from openbei.serving.request import Answer

HEADER = struct.Struct("=QIHH")
"""Bytes of the body, id of the request, kind, and index of the model."""

ALIGNMENT = 8

MAX_REQUEST_BYTES = 1 << 30
"""Limit of a frame from a front: 268 million token ids."""

MAX_ANSWER_BYTES = 1 << 33
"""Limit of a frame from the engine process."""

OUTPUTS: tuple[Output, ...] = get_args(Output)
"""An output is encoded as its index."""

_SEQUENCES = struct.Struct("=IBBxx")  # number of sequences, output, whether there are type ids
_ROWS = struct.Struct("=ddII")  # seconds in queue and engine, number of rows, width


SEPARATOR = b"\0"
"""Between the metrics of several processes."""

Buffer = bytes | NDArray[Any]
"""A part of a body; arrays are contiguous."""


class Kind(IntEnum):
    """The kinds of frames, with the process that sends them."""

    HELLO = 1  # engine: the models, before they are loaded
    LOADED = 2  # front: it has loaded the tokenizers
    START = 3  # engine: the engines are loaded
    LISTENING = 4  # front: its address
    SUBMIT = 5  # front: a request
    CANCEL = 6  # front: nobody waits for the request any more
    EXPECT = 7  # front: a request is about to be submitted
    ROWS = 8  # engine: an answer
    SPARSE_ROWS = 9  # engine: an answer with term weights
    FAILURE = 10  # engine: a request failed
    WORKING = 11  # engine: the number of engines in service, by model
    SNAPSHOT = 12  # engine: send the metrics; front: its metrics
    METRICS = 13  # front: collect the metrics of all processes; engine: those of each


class Frame(NamedTuple):
    """A frame that was received. `body` must not be modified."""

    id: int
    kind: int
    model: int
    body: memoryview


class MalformedFrameError(Exception):
    """A frame that the other process cannot have sent if it works."""


class ModelDescription(msgspec.Struct, frozen=True):
    """What a front must know of a model: its name, engine directory, manifest and prompts."""

    name: str
    path: str
    manifest: Manifest
    prompts: Prompts


class StartedModel(msgspec.Struct, frozen=True):
    """The engines of a model, and how many of them are in service."""

    engines: list[EngineInfo]
    num_working: int


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception: the name of its class, and its arguments."""

    kind: str
    message: str
    hint: str | None = None
    param: str | None = None
    retry_after_s: float = 0.0


_ERRORS: dict[str, type[OpenbeiError]] = {
    one.__name__: one
    for one in (EmptyInputError, EngineError, EngineLostError, InputError, OverloadedError, UnavailableError)
}


def frame(kind: Kind, *buffers: Buffer, id: int = 0, model: int = 0) -> bytes:
    """A frame whose body is the concatenation of buffers."""
    length = 0
    for buffer in buffers:
        length += len(buffer) if isinstance(buffer, bytes) else buffer.nbytes
    header, padding = HEADER.pack(length, id, kind, model), bytes(-length % ALIGNMENT)
    return b"".join(cast(tuple[bytes, ...], (header, *buffers, padding)))


def encode_sequences(sequences: list[Sequence], output: Output) -> list[Buffer]:
    """The buffers of a request's body: lengths, lengths before truncation, excluded tokens, token ids, type ids."""
    has_types = any(sequence.type_ids is not None for sequence in sequences)
    numbers = array("i", [sequence.num_tokens for sequence in sequences])
    numbers.extend([sequence.num_tokens_given for sequence in sequences])
    numbers.extend([sequence.num_excluded for sequence in sequences])
    head = _SEQUENCES.pack(len(sequences), OUTPUTS.index(output), has_types)
    buffers: list[Buffer] = [head, numbers.tobytes(), *(sequence.token_ids for sequence in sequences)]
    if has_types:
        buffers += [np.zeros_like(s.token_ids) if s.type_ids is None else s.type_ids for s in sequences]
    return buffers


def decode_sequences(body: memoryview) -> tuple[list[Sequence], Output]:
    """The opposite of `encode_sequences`. Raises MalformedFrameError."""
    try:
        count, output, has_types = _SEQUENCES.unpack_from(body)
        numbers = struct.unpack_from(f"={3 * count}i", body, _SEQUENCES.size)
        lengths, given, excluded = numbers[:count], numbers[count : 2 * count], numbers[2 * count :]
        ids = np.frombuffer(body, np.int32, offset=_SEQUENCES.size + 12 * count)
        num_tokens = sum(lengths)
        if len(ids) != num_tokens * (1 + has_types) or has_types > 1:
            raise MalformedFrameError(f"{len(ids)} token ids and types do not match {num_tokens} tokens")
        sequences, start = [], 0
        for length, num_given, num_excluded in zip(lengths, given, excluded, strict=True):
            if not 0 <= num_excluded < length:
                raise MalformedFrameError(f"{num_excluded} of {length} tokens are excluded")
            stop = start + length
            types = ids[num_tokens + start : num_tokens + stop] if has_types else None
            sequences.append(Sequence(ids[start:stop], num_given, types, num_excluded))
            start = stop
        return sequences, OUTPUTS[output]
    except (struct.error, ValueError, IndexError) as error:
        raise MalformedFrameError(f"a request cannot be decoded: {error}") from error


def encode_answer(answer: Answer) -> tuple[Kind, list[Buffer]]:
    """The kind and the buffers of an answer's body."""
    rows = answer.rows
    if isinstance(rows, SparseVectors):
        head = _ROWS.pack(answer.queue_s, answer.inference_s, len(rows), rows.width)
        return Kind.SPARSE_ROWS, [head, _contiguous(rows.cu_terms), _contiguous(rows.indices), _contiguous(rows.values)]
    head = _ROWS.pack(answer.queue_s, answer.inference_s, *rows.shape)
    return Kind.ROWS, [head, _contiguous(rows)]


def decode_answer(received: Frame) -> Answer:
    """The opposite of `encode_answer`. The rows are views of the frame's body. Raises MalformedFrameError."""
    try:
        queue_s, inference_s, num_rows, width = _ROWS.unpack_from(received.body)
        content = received.body[_ROWS.size :]
        if received.kind == Kind.ROWS:
            rows: Rows = np.frombuffer(content, np.float32).reshape(num_rows, width)
        else:
            rows = _decode_sparse(content, num_rows, width)
        return Answer(rows, queue_s, inference_s)
    except (struct.error, ValueError, IndexError) as error:
        raise MalformedFrameError(f"an answer cannot be decoded: {error}") from error


def _decode_sparse(content: memoryview, num_rows: int, width: int) -> SparseVectors:
    cu_terms = np.frombuffer(content, np.int64, num_rows + 1)
    num_terms = int(cu_terms[-1])
    indices = np.frombuffer(content, np.int32, num_terms, cu_terms.nbytes)
    values = np.frombuffer(content, np.float32, num_terms, cu_terms.nbytes + indices.nbytes)
    return SparseVectors(indices, values, cu_terms, width)


def _contiguous(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.flags.c_contiguous else np.ascontiguousarray(values)


def encode_failure(error: BaseException) -> bytes:
    """An exception, as its nearest class in the table of those that a front raises again."""
    kind = next((base.__name__ for base in type(error).__mro__ if base.__name__ in _ERRORS), EngineError.__name__)
    failure = Failure(
        kind,
        error.message if isinstance(error, OpenbeiError) else type(error).__name__,
        error.hint if isinstance(error, OpenbeiError) else None,
        error.param if isinstance(error, InputError) else None,
        error.retry_after_s if isinstance(error, OverloadedError) else 0.0,
    )
    return msgspec.json.encode(failure)


def decode_failure(body: memoryview) -> OpenbeiError:
    """The opposite of `encode_failure`. Raises MalformedFrameError."""
    failure = decode_json(body, Failure)
    error = _ERRORS.get(failure.kind, EngineError)
    if error is OverloadedError:
        return OverloadedError(failure.message, retry_after_s=failure.retry_after_s, hint=failure.hint)
    if issubclass(error, InputError):
        return error(failure.message, param=failure.param, hint=failure.hint)
    return error(failure.message, hint=failure.hint)


def decode_json(body: memoryview, kind: Any) -> Any:  # noqa: ANN401
    """A body in JSON. Raises MalformedFrameError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedFrameError(f"a frame's body is not as expected: {error}") from error
