"""Tokenizers that make texts much longer are refused; those of published kinds are not."""

import base64
import re
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from openbei.build.tokenizer_file import read_tokenizer
from openbei.build.tokenizer_growth import check_growth, growth_of
from openbei.errors import CheckpointError

TEN = normalizers.Replace("a", "a" * 10)


def with_parts(normalizer: object = None, pre_tokenizer: object = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


@pytest.mark.parametrize(
    ("normalizer", "growth"),
    [
        (normalizers.Sequence([TEN] * 9), "1e+09"),
        (normalizers.Sequence([TEN, normalizers.Sequence([TEN, TEN])]), "1e+03"),
        (normalizers.Replace(Regex("(?=.)"), "x" * 200), "201"),
        (normalizers.Replace("", "x" * 200), "200"),
        (normalizers.Sequence([normalizers.Prepend("x" * 20)] * 2), "400"),
        (normalizers.Sequence([normalizers.ByteLevel()] * 4), "256"),
    ],
    ids=["replacements", "nested", "regex", "empty pattern", "prefixes", "bytes"],
)
def test_refused(normalizer: object, growth: str, tmp_path: Path) -> None:
    """Before it tokenizes anything, which would take all memory."""
    with_parts(normalizer).save(str(tmp_path / "tokenizer.json"))
    message = f"tokenizer.json: its normalizer can make a text {growth} times longer; the limit is 100"
    with pytest.raises(CheckpointError, match=re.escape(message)):
        read_tokenizer(tmp_path)


def test_pre_tokenizers(tmp_path: Path) -> None:
    steps = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel()] * 4)
    with pytest.raises(CheckpointError, match="256 times longer"):
        check_growth(with_parts(pre_tokenizer=steps), tmp_path)


@pytest.mark.parametrize(("length", "growth"), [(9, 1), (18, 1), (1800, 100), (1819, 101)])
def test_maps_of_sentencepiece(length: int, growth: int) -> None:
    """A character may become as many as in Unicode's longest decomposition."""
    content = (0).to_bytes(4, "little") + b"a\0" + b"x" * length + b"\0"  # an empty trie and two replacements
    step = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}
    assert growth_of(step) == pytest.approx(growth, rel=1e-3)


@pytest.mark.parametrize(
    "normalizer",
    [
        normalizers.BertNormalizer(),
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        normalizers.Sequence(
            [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Replace(Regex(" {2,}"), " ")]
        ),
        normalizers.Sequence([normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKC()]),
    ],
    ids=["BERT", "Llama", "ALBERT", "quotation marks"],
)
def test_accepted(normalizer: object, tmp_path: Path) -> None:
    check_growth(with_parts(normalizer, pre_tokenizers.ByteLevel()), tmp_path)
