"""End to end: how well the cosines of a published model's vectors rank the pairs of the STS benchmark."""

import pytest

from openbei.spec import DType
from tests.sentence_chain import judged

from .checkpoint import STS_SCORES, Checkpoint
from .conftest import Fetched
from .sts import spearman

both = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


@both
@pytest.mark.parametrize("checkpoint", ["all-MiniLM-L6-v2"], indirect=True)
def test_the_published_score(checkpoint: Checkpoint, dtype: DType, fetched: Fetched) -> None:
    found = spearman(fetched("STS-B"), lambda texts: checkpoint.embed(texts, dtype))
    assert found == pytest.approx(STS_SCORES[checkpoint.name], abs=0.1)


@both
@pytest.mark.parametrize("checkpoint", ["wordllama-l2-supercat-256"], indirect=True)
def test_the_score_of_sentence_transformers(checkpoint: Checkpoint, dtype: DType, fetched: Fetched) -> None:
    expected = spearman(fetched("STS-B"), lambda texts: judged(checkpoint.judge, texts))
    found = spearman(fetched("STS-B"), lambda texts: checkpoint.embed(texts, dtype))
    assert found == pytest.approx(expected, abs=0.1)


@both
@pytest.mark.parametrize("checkpoint", ["all-mpnet-base-v2"], indirect=True)
def test_the_score_of_a_sample(checkpoint: Checkpoint, dtype: DType, fetched: Fetched) -> None:
    """All pairs take minutes without AVX-512: `make bench ARGS=published` measures that score.

    In a sample of 60 pairs two that change places count for up to 0.3.
    """
    expected = spearman(fetched("STS-B"), lambda texts: judged(checkpoint.judge, texts), sample=60)
    found = spearman(fetched("STS-B"), lambda texts: checkpoint.embed(texts, dtype), sample=60)
    assert found == pytest.approx(expected, abs={"float32": 0.1, "bfloat16": 0.5}[dtype])
