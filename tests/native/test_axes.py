"""Every axis of a ModelSpec at every instruction-set level, against the reference backend."""

import pytest

from openbei.backends.native import encoder_over
from openbei.spec import EmbeddingHead, Pooling
from tests.native.conftest import SUPPORTED, MakeEngineDir, MakeSpec
from tests.native.encoders import check_head, check_tokens
from tests.spec_axes import AXES


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("axis", AXES)
def test_axes_agree_with_reference(
    isa: str, threads: int, axis: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(72, 6, 12, 96, **AXES[axis]))
    encoder = encoder_over(engine_dir, isa=isa, threads=threads)
    for lengths in ([1, 40, 7, 90], [700], [33, 2, 65]):
        check_tokens(engine_dir, encoder, lengths)


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("axis", AXES)
def test_axes_in_bfloat16(isa: str, axis: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec(72, 6, 12, 96, **AXES[axis]), "bfloat16")
    check_tokens(engine_dir, encoder_over(engine_dir, isa=isa, threads=2), [1, 40, 7, 300])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("pooling", ["cls", "last_token", "mean", "weighted_mean"])
@pytest.mark.parametrize("axis", AXES)
def test_the_last_layer_computes_only_the_rows_that_the_head_reads(
    axis: str, pooling: Pooling, threads: int, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    spec = make_spec(72, 6, 12, 96, head=EmbeddingHead(poolings=(pooling,)), **AXES[axis])
    engine_dir = make_engine_dir(spec)
    encoder = encoder_over(engine_dir, threads=threads)
    for lengths in ([1, 40, 7, 90], [200], [33] * 4):
        check_head(engine_dir, encoder, lengths, 0.99999)
