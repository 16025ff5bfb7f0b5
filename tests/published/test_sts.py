"""End to end: how well the cosines of a published model's vectors rank the pairs of the STS benchmark."""

from functools import partial

import pytest

from openbei.spec import DType

from .checkpoint import STS_SCORES, Checkpoint
from .conftest import Fetched
from .sts import spearman

DTYPES: tuple[DType, ...] = ("float32", "bfloat16")


@pytest.mark.parametrize("checkpoint", ["all-MiniLM-L6-v2"], indirect=True)
def test_the_known_score(checkpoint: Checkpoint, fetched: Fetched) -> None:
    found = spearman(fetched("STS-B"), partial(checkpoint.embed, dtype="float32"))
    assert found == pytest.approx(STS_SCORES[checkpoint.name], abs=0.1)


@pytest.mark.parametrize("checkpoint", ["paraphrase-MiniLM-L3-v2"], indirect=True)
def test_the_known_score_in_bfloat16(checkpoint: Checkpoint, fetched: Fetched) -> None:
    """The smallest transformer here, because bfloat16 is slow without AVX-512."""
    found = spearman(fetched("STS-B"), partial(checkpoint.embed, dtype="bfloat16"))
    assert found == pytest.approx(STS_SCORES[checkpoint.name], abs=0.1)


@pytest.mark.parametrize("checkpoint", ["wordllama-l2-supercat-256"], indirect=True)
def test_the_score_of_sentence_transformers(checkpoint: Checkpoint, fetched: Fetched) -> None:
    """None is published for this one."""
    expected = spearman(fetched("STS-B"), checkpoint.judge.encode)
    found = [spearman(fetched("STS-B"), partial(checkpoint.embed, dtype=dtype)) for dtype in DTYPES]
    assert found == pytest.approx([expected, expected], abs=0.1)


@pytest.mark.parametrize("checkpoint", ["all-mpnet-base-v2", "multilingual-e5-small-4bit"], indirect=True)
def test_the_score_of_a_sample(checkpoint: Checkpoint, fetched: Fetched) -> None:
    """All pairs take too long for a test: `make bench ARGS=published` measures their score, in bfloat16 too."""
    expected = spearman(fetched("STS-B"), checkpoint.judge.encode, sample=30)
    found = spearman(fetched("STS-B"), partial(checkpoint.embed, dtype="float32"), sample=30)
    assert found == pytest.approx(expected, abs=0.1)
