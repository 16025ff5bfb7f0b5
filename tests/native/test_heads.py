"""Every kind of head at every instruction-set level, against the reference backend."""

from dataclasses import replace

import numpy as np
import pytest

from openbei.backends.native import NativeEngine, encoder_over
from openbei.backends.reference import ReferenceEngine
from openbei.batch import head_output
from openbei.errors import EngineError
from openbei.spec import TokenEmbeddingHead, UnitNorm
from tests.native.conftest import SUPPORTED, MakeEngineDir, MakeSpec
from tests.native.encoders import check_head, dense, random_batch
from tests.same_embedding import worst_cosine
from tests.small_models import expanded_batch
from tests.spec_axes import AXES, HEADS, WITH_UNATTENDED


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("head", HEADS)
def test_heads_agree_with_reference(
    isa: str, threads: int, head: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(36, 3, 12, 50, head=HEADS[head], first_position=2))
    encoder = encoder_over(engine_dir, isa=isa, threads=threads)
    for lengths in ([1, 40, 7], [300, 5], [70] * 3):
        check_head(engine_dir, encoder, lengths, 0.99999)


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("head", HEADS)
def test_heads_in_bfloat16(isa: str, head: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec(64, 2, 32, 96, head=HEADS[head]), "bfloat16")
    check_head(engine_dir, encoder_over(engine_dir, isa=isa, threads=2), [1, 40, 7, 130], 0.998)


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("axis", WITH_UNATTENDED)
def test_tokens_that_are_not_attended_to(
    isa: str, axis: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    head = TokenEmbeddingHead(steps=(UnitNorm(),), unattended_id=3)
    engine_dir = make_engine_dir(make_spec(72, 6, 12, 96, head=head, **AXES[axis]))
    spec = engine_dir.manifest.spec
    batch = expanded_batch([1, 40, 7, 90], [1, 25, 0, 60], 3)
    for threads in (1, 3):
        actual = NativeEngine(encoder_over(engine_dir, isa=isa, threads=threads), spec, "float32").run(batch, "vectors")
        assert worst_cosine(dense(actual), dense(ReferenceEngine(engine_dir).run(batch, "vectors"))) >= 0.99999


@pytest.mark.parametrize("head", HEADS)
def test_a_single_sequence_gets_the_same_head_output(
    head: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(head=HEADS[head]), "bfloat16")
    spec = engine_dir.manifest.spec
    engine = NativeEngine(encoder_over(engine_dir, threads=2), spec, "bfloat16")
    output = head_output(HEADS[head])
    most = 100 if "terms" in head else 20  # for term weights, more than are run at once
    batch = random_batch([7, 300, 1, 33, *range(2, most)])
    together = dense(engine.run(batch, output))
    row = 0
    for i in range(batch.num_sequences):
        alone = dense(engine.run(batch.part(i, i + 1), output))
        np.testing.assert_array_equal(alone, together[row : row + len(alone)])
        row += len(alone)
    assert row == len(together)


def test_an_output_that_the_head_does_not_have(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec())
    for engine in (
        NativeEngine(encoder_over(engine_dir), engine_dir.manifest.spec, "float32"),
        ReferenceEngine(engine_dir),
    ):
        with pytest.raises(EngineError, match="embedding models have no output 'labels'"):
            engine.run(random_batch([3]), "labels")


@pytest.mark.parametrize("excluded", [[3, 0], [-1, 0], [0], [0, 0, 0]])
def test_all_tokens_cannot_be_excluded_from_pooling(
    excluded: list[int], make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec())
    batch = replace(random_batch([3, 2]), num_excluded=np.array(excluded, np.int32))
    for engine in (
        NativeEngine(encoder_over(engine_dir), engine_dir.manifest.spec, "float32"),
        ReferenceEngine(engine_dir),
    ):
        with pytest.raises(EngineError):
            engine.run(batch)
