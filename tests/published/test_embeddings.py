"""Published embedding models, built as they are, against sentence-transformers in float32: vectors of varied texts, and
how well their cosines rank the pairs of the STS benchmark."""

from functools import partial

import numpy as np
import pytest

from openbei.accuracy import Texts
from openbei.backends.recording import RecordingEngine
from openbei.build import build
from openbei.calibration import calibrate
from openbei.config import Environment
from openbei.model import Model
from openbei.spec import DType
from tests.checkpoint import deployment
from tests.same_embedding import Floats, unit, worst_cosine, worst_plain_cosine
from tests.sentence_chain import encode_each

from .checkpoint import STS_SCORES, Checkpoint
from .conftest import Fetched
from .given import SPELLED_OUT, VARIED
from .sts import spearman

DTYPES: tuple[DType, ...] = ("float32", "bfloat16")


@pytest.fixture(scope="module")
def expected(checkpoint: Checkpoint) -> Floats:
    """What sentence-transformers makes of VARIED."""
    return encode_each(checkpoint.judge, VARIED)


def lengths(rows: Floats) -> Floats:
    return np.linalg.norm(rows, axis=1)


def differing(texts: list[str], found: Floats, expected: Floats) -> list[str]:
    """The texts whose vectors have another direction or another length."""
    cosines = (unit(found) * unit(expected)).sum(axis=1)
    same = (cosines >= 0.99999) & (np.abs(lengths(found) / lengths(expected) - 1) <= 1e-5)
    return [text for text, is_same in zip(texts, same, strict=True) if not is_same]


def test_varied_texts(checkpoint: Checkpoint, expected: Floats) -> None:
    found = checkpoint.embed(VARIED, "float32")
    assert differing(VARIED, found, expected) == []
    assert worst_cosine(found, expected) >= 0.99999


def test_spelled_out_special_tokens(checkpoint: Checkpoint) -> None:
    """A tokenizer takes them for what they name, also where a text merely mentions them."""
    found, expected = checkpoint.embed(SPELLED_OUT, "float32"), encode_each(checkpoint.judge, SPELLED_OUT)
    assert differing(SPELLED_OUT, found, expected) == []


def test_bfloat16(checkpoint: Checkpoint, expected: Floats) -> None:
    found = checkpoint.embed(VARIED, "bfloat16")
    assert worst_plain_cosine(found, expected) >= 0.9995
    np.testing.assert_allclose(lengths(found), lengths(expected), rtol=0.01)


@pytest.mark.parametrize("checkpoint", ["paraphrase-MiniLM-L3-v2"], indirect=True)
def test_smooth_quant(checkpoint: Checkpoint, expected: Floats) -> None:
    """With weights and inputs in 8 bits, calibrated as by `bei build`."""
    given = deployment(checkpoint.folder, dtype="bfloat16", quantization="smooth_quant")
    texts = Texts.read(None).sample()
    built = build(
        given,
        checkpoint.work / "smooth_quant",
        environment=Environment.read({}),
        calibrate=lambda original: calibrate(original, RecordingEngine(original), texts, progress=False),
    )
    with Model(built.path) as model:
        found = model.embed(VARIED, progress=False)
    cosines = (unit(found) * unit(expected)).sum(axis=1)
    assert cosines.mean() >= 0.999
    assert cosines.min() >= 0.995


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
