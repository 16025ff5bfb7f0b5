"""The fake engine keeps the contract and tells sequences apart."""

import numpy as np
import pytest

from openbei.batch import PackedBatch, Sequence
from openbei.errors import EngineError
from openbei.serving.fake_engine import FakeEngine


def packed(*lists: list[int]) -> PackedBatch:
    return PackedBatch.pack(Sequence(np.array(ids, np.int32), len(ids)) for ids in lists)


def test_vectors_depend_on_the_sequence_alone() -> None:
    engine = FakeEngine(5)
    vectors = engine.run(packed([1, 2], [3], [1, 2]))
    assert vectors.shape == (3, 5)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(engine.run(packed([3]))[0], vectors[1])


def test_token_output() -> None:
    assert FakeEngine(5).run(packed([1, 2], [3]), "tokens").shape == (3, 5)


def test_it_fails_on_its_token() -> None:
    with pytest.raises(EngineError):
        FakeEngine(failing_token_id=9).run(packed([1], [8, 9]))
