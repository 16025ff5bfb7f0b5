"""Frames: what is encoded is decoded, however the stream is cut, and frames that are malformed are found."""

from typing import get_args

import numpy as np
import pytest

from openbei.batch import Output, Sequence, SparseVectors
from openbei.errors import EmptyInputError, EngineLostError, InputError, OpenbeiError, OverloadedError, UnavailableError
from openbei.serving.fronts.frames import (
    HEADER,
    Frame,
    Kind,
    MalformedFrameError,
    decode_answer,
    decode_failure,
    decode_sequences,
    encode_answer,
    encode_failure,
    encode_sequences,
    frame,
)
from openbei.serving.fronts.stream import FrameSplitter
from openbei.serving.request import Answer


def sequence(*ids: int, **fields: int) -> Sequence:
    return Sequence(np.array(ids, np.int32), len(ids) + 2, **fields)


def received(content: bytes) -> Frame:
    [one] = FrameSplitter(1 << 20).split(content)
    return one


@pytest.mark.parametrize("cut", [1, 7, 16, 40, 1000])
def test_frames_are_split_wherever_the_stream_is_cut(cut: int) -> None:
    bodies = [b"", b"a", bytes(range(100)), b"12345678"]
    stream = b"".join(frame(Kind.METRICS, body, id=i, model=i + 1) for i, body in enumerate(bodies))
    splitter = FrameSplitter(100)
    frames = [one for start in range(0, len(stream), cut) for one in splitter.split(stream[start : start + cut])]
    assert [(one.id, one.model, one.kind, bytes(one.body)) for one in frames] == [
        (i, i + 1, Kind.METRICS, body) for i, body in enumerate(bodies)
    ]


def test_a_frame_above_the_limit_is_refused_before_it_arrives() -> None:
    with pytest.raises(MalformedFrameError, match="101 bytes; the limit is 100"):
        FrameSplitter(100).split(HEADER.pack(101, 0, Kind.SUBMIT, 0))


@pytest.mark.parametrize("output", get_args(Output))
def test_sequences(output: Output) -> None:
    types = Sequence(np.array([1, 2, 3], np.int32), 3, np.array([0, 1, 1], np.int32))
    for sequences in ([], [sequence(5)], [sequence(4, 5, num_excluded=1), types, sequence(6)]):
        content = frame(Kind.SUBMIT, *encode_sequences(sequences, output), id=1)
        decoded, decoded_output = decode_sequences(received(content).body)
        assert decoded_output == output
        assert len(decoded) == len(sequences)
        has_types = any(one.type_ids is not None for one in sequences)
        for one, given in zip(decoded, sequences, strict=True):
            np.testing.assert_array_equal(one.token_ids, given.token_ids)
            assert (one.num_tokens_given, one.num_excluded) == (given.num_tokens_given, given.num_excluded)
            expected = np.zeros_like(given.token_ids) if given.type_ids is None and has_types else given.type_ids
            np.testing.assert_array_equal(one.type_ids, expected)


SUBMITTED = bytearray(b"".join(bytes(part) for part in encode_sequences([sequence(4, 5), sequence(6)], "pooled")))


def changed(index: int, value: int) -> bytes:
    content = SUBMITTED.copy()
    content[index] = value
    return bytes(content)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        SUBMITTED[:-4],  # an id is missing
        SUBMITTED[:-1],
        SUBMITTED + bytes(4),  # one too many
        changed(0, 3),  # more sequences
        changed(3, 255),  # four billion of them
        changed(4, len(get_args(Output))),  # no such output
        changed(5, 2),  # neither with types nor without
        changed(8, 0),  # a sequence without tokens
        changed(11, 255),  # a negative length
        changed(24, 2),  # all tokens are excluded
        changed(27, 255),
    ],
)
def test_malformed_sequences(body: bytes) -> None:
    with pytest.raises(MalformedFrameError):
        decode_sequences(memoryview(body))


def test_answers() -> None:
    dense = np.arange(12, dtype=np.float32).reshape(3, 4)
    for rows in (dense, dense[::-1], dense[:0]):
        kind, buffers = encode_answer(Answer(rows, 1.5, 2.5))
        answer = decode_answer(received(frame(kind, *buffers)))
        np.testing.assert_array_equal(answer.rows, rows)
        assert (answer.queue_s, answer.inference_s) == (1.5, 2.5)
    sparse = SparseVectors.of(np.array([[0, 1, 2], [0, 0, 0], [3, 0, 0]], np.float32))[1:]
    kind, buffers = encode_answer(Answer(sparse, 0, 0))
    rows = decode_answer(received(frame(kind, *buffers))).rows
    assert isinstance(rows, SparseVectors)
    assert rows.width == 3
    for name in ("indices", "values", "cu_terms"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(sparse, name))


@pytest.mark.parametrize("kind", [Kind.ROWS, Kind.SPARSE_ROWS])
def test_malformed_answers(kind: Kind) -> None:
    _, buffers = encode_answer(Answer(np.ones((3, 4), np.float32), 0, 0))
    body = b"".join(bytes(part) for part in buffers)
    for content in (b"", body[:-4], body[:-1], body[:10]):
        with pytest.raises(MalformedFrameError):
            decode_answer(Frame(0, kind, 0, memoryview(content)))


@pytest.mark.parametrize(
    "error",
    [
        InputError("too long", param="input", hint="shorten it"),
        EmptyInputError("no inputs"),
        OverloadedError("full", retry_after_s=1.5, hint="later"),
        UnavailableError("stopped"),
        EngineLostError("lost"),
    ],
)
def test_failures(error: OpenbeiError) -> None:
    decoded = decode_failure(memoryview(encode_failure(error)))
    assert type(decoded) is type(error)
    assert vars(decoded) == vars(error)


def test_an_unexpected_failure_does_not_show_its_message() -> None:
    decoded = decode_failure(memoryview(encode_failure(RuntimeError("a secret"))))
    assert "secret" not in str(decoded)
    with pytest.raises(MalformedFrameError):
        decode_failure(memoryview(b"{}"))
