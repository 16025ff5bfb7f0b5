"""End to end: how well the cosines of a published model's vectors rank the pairs of the STS benchmark."""

from functools import partial

import pytest

from openbei.spec import DType
from tests.sentence_chain import encode_each

from .checkpoint import STS_SCORES, Checkpoint
from .conftest import Fetched
from .sts import spearman

DTYPES: tuple[DType, ...] = ("float32", "bfloat16")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("checkpoint", ["all-MiniLM-L6-v2"], indirect=True)
def test_the_published_score(checkpoint: Checkpoint, dtype: DType, fetched: Fetched) -> None:
    found = spearman(fetched("STS-B"), partial(checkpoint.embed, dtype=dtype))
    assert found == pytest.approx(STS_SCORES[checkpoint.name], abs=0.1)


@pytest.mark.parametrize("checkpoint", ["wordllama-l2-supercat-256"], indirect=True)
def test_the_score_of_sentence_transformers(checkpoint: Checkpoint, fetched: Fetched) -> None:
    """None is published for this one."""
    expected = spearman(fetched("STS-B"), checkpoint.judge.encode)
    found = [spearman(fetched("STS-B"), partial(checkpoint.embed, dtype=dtype)) for dtype in DTYPES]
    assert found == pytest.approx([expected, expected], abs=0.1)


@pytest.mark.parametrize("checkpoint", ["all-mpnet-base-v2"], indirect=True)
def test_the_score_of_a_sample(checkpoint: Checkpoint, fetched: Fetched) -> None:
    """All pairs take a minute without AVX-512: `make bench ARGS=published` measures the published score."""
    expected = spearman(fetched("STS-B"), lambda texts: encode_each(checkpoint.judge, texts), sample=60)
    precise, narrow = (spearman(fetched("STS-B"), partial(checkpoint.embed, dtype=d), sample=60) for d in DTYPES)
    assert precise == pytest.approx(expected, abs=0.1)
    assert narrow == pytest.approx(expected, abs=0.5)  # of 60 pairs, two that change places count for up to 0.3
