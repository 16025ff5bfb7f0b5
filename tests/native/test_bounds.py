"""Inputs of the compiled module just past each limit raise an exception, and nothing out of bounds is accessed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from openbei import _native
from openbei.attention_bias import BucketBias, Disentangled
from openbei.backends.native import encoder_over
from openbei.engine_dir import EngineDir
from openbei.spec import (
    Attention,
    Convolution,
    Dense,
    EmbeddingHead,
    Experts,
    GatedMLP,
    LayerNorm,
    NoPositions,
    Rotary,
    TermHead,
    TokenHead,
)
from tests.native.conftest import MakeEngineDir, MakeSpec

Batch = dict[str, Any]

LIMIT = 12
HIDDEN = 36


@pytest.fixture
def encoder(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> _native.Encoder:
    return encoder_over(make_engine_dir(make_spec(HIDDEN, 3, 12, 50, max_positions=LIMIT)), threads=2)


def batch(**changes: Any) -> Batch:
    """Two sequences, of the maximum length and of 3 tokens, with the largest valid ids and types."""
    given: Batch = {
        "ids": np.full(LIMIT + 3, 210, np.int32),
        "cu_seqlens": np.array([0, LIMIT, LIMIT + 3], np.int32),
        "types": np.ones(LIMIT + 3, np.int32),
        "num_excluded": np.array([LIMIT - 1, 2], np.int32),
        "skips_head": False,
        "out": np.full((2, 64), np.nan, np.float32),
    }
    return given | changes


def changed(name: str, at: int, number: int) -> Batch:
    array = batch()[name].copy()
    array[at] = number
    return batch(**{name: array})


def ints(*numbers: int) -> Any:
    return np.array(numbers, np.int32)


def read_only() -> Any:
    out = np.zeros((2, 64), np.float32)
    out.flags.writeable = False
    return out


BAD_VALUES: dict[str, tuple[Batch, str]] = {
    "id past the last": (changed("ids", 0, 211), "token id 211 is outside"),
    "last id past the last": (changed("ids", -1, 211), "token id 211 is outside"),
    "id below zero": (changed("ids", 5, -1), "token id -1 is outside"),
    "largest id": (changed("ids", 5, 2**31 - 1), "token id 2147483647 is outside"),
    "smallest id": (changed("ids", 5, -(2**31)), "token id -2147483648 is outside"),
    "type past the last": (changed("types", 0, 2), "token type 2 is outside"),
    "last type past the last": (changed("types", -1, 2), "token type 2 is outside"),
    "type below zero": (changed("types", 3, -1), "token type -1 is outside"),
    "a type too few": (batch(types=np.zeros(LIMIT + 2, np.int32)), "there are 14 types for 15 tokens"),
    "a type too many": (batch(types=np.zeros(LIMIT + 4, np.int32)), "there are 16 types for 15 tokens"),
    "no types": (batch(types=ints()), "there are 0 types for 15 tokens"),
    "a token too many": (batch(ids=np.zeros(LIMIT + 4, np.int32), types=None), "cu_seqlens must run from 0"),
    "a token too few": (batch(ids=np.zeros(LIMIT + 2, np.int32), types=None), "cu_seqlens must run from 0"),
    "no bounds": (batch(cu_seqlens=ints()), "cu_seqlens must run from 0"),
    "bounds from one on": (changed("cu_seqlens", 0, 1), "cu_seqlens must run from 0"),
    "bounds from below zero": (changed("cu_seqlens", 0, -1), "cu_seqlens must run from 0"),
    "bounds below zero": (changed("cu_seqlens", 1, -5), "sequence 0 has -5 tokens, the limits are 1 and 12"),
    "bounds past the end": (changed("cu_seqlens", 1, LIMIT + 4), "sequence 0 has 16 tokens, the limits are 1 and 12"),
    "bounds that fall": (batch(cu_seqlens=ints(0, 9, 4, 15)), "sequence 1 has -5 tokens, the limits are 1 and 12"),
    "a sequence too long": (changed("cu_seqlens", 1, LIMIT + 1), "sequence 0 has 13 tokens, the limits are 1 and 12"),
    "the last too long": (changed("cu_seqlens", 1, 2), "sequence 1 has 13 tokens, the limits are 1 and 12"),
    "an empty sequence": (changed("cu_seqlens", 1, 0), "sequence 0 has 0 tokens, the limits are 1 and 12"),
    "bounds whose difference overflows": (
        batch(cu_seqlens=ints(0, 1, -(2**31), 15)),
        "sequence 1 has -2147483649 tokens",
    ),
    "all excluded": (changed("num_excluded", 0, LIMIT), "sequence 0 excludes 12 tokens .* limits are 0 and 11"),
    "all of the last excluded": (changed("num_excluded", 1, 3), "sequence 1 excludes 3 tokens .* limits are 0 and 2"),
    "excluded below zero": (changed("num_excluded", 0, -1), "sequence 0 excludes -1 tokens .* limits are 0 and 11"),
    "an excluded too few": (batch(num_excluded=ints(0)), "num_excluded has 1 elements for 2 sequences"),
    "an excluded too many": (batch(num_excluded=ints(0, 0, 0)), "num_excluded has 3 elements for 2 sequences"),
    "a row too few": (batch(out=np.zeros((1, 64), np.float32)), r"the output must be \[2, 64\]"),
    "a row too many": (batch(out=np.zeros((3, 64), np.float32)), r"the output must be \[2, 64\]"),
    "a column too few": (batch(out=np.zeros((2, 63), np.float32)), r"the output must be \[2, 64\]"),
    "a column too many": (batch(out=np.zeros((2, 65), np.float32)), r"the output must be \[2, 64\]"),
    "columns without padding": (batch(out=np.zeros((2, HIDDEN), np.float32)), r"the output must be \[2, 64\]"),
    "rows for sequences": (batch(skips_head=True), r"the output must be \[15, 64\]"),
    "rows for tokens": (batch(out=np.zeros((15, 64), np.float32)), r"the output must be \[2, 64\]"),
}

BAD_ARRAYS: dict[str, Batch] = {
    **{f"{name} of int64": batch(**{name: batch()[name].astype(np.int64)}) for name in ("ids", "cu_seqlens", "types")},
    **{f"{name} of uint32": batch(**{name: batch()[name].astype(np.uint32)}) for name in ("ids", "cu_seqlens")},
    **{f"{name} of two dimensions": batch(**{name: batch()[name][None]}) for name in ("ids", "cu_seqlens", "types")},
    **{f"{name} missing": batch(**{name: None}) for name in ("ids", "cu_seqlens", "out")},
    "every second id": batch(ids=np.zeros(2 * LIMIT + 6, np.int32)[::2]),
    "num_excluded of int64": batch(num_excluded=np.zeros(2, np.int64)),
    "output of float64": batch(out=np.zeros((2, 64))),
    "output of float16": batch(out=np.zeros((2, 64), np.float16)),
    "output of one dimension": batch(out=np.zeros(128, np.float32)),
    "output by columns": batch(out=np.zeros((64, 2), np.float32).T),
    "output of every second column": batch(out=np.zeros((2, 128), np.float32)[:, ::2]),
    "output that is read-only": batch(out=read_only()),
}


def test_at_the_limits(encoder: _native.Encoder) -> None:
    for given in (batch(), batch(types=None), batch(num_excluded=None), batch(types=None, num_excluded=None)):
        encoder.run(**given)
        assert np.isfinite(given["out"][:, :HIDDEN]).all()
    encoder.run(
        **batch(ids=ints(), cu_seqlens=ints(0), types=None, num_excluded=None, out=np.zeros((0, 64), np.float32))
    )


@pytest.mark.parametrize(("given", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_values_past_the_limits(given: Batch, message: str, encoder: _native.Encoder) -> None:
    before = given["out"].copy()
    with pytest.raises(ValueError, match=message):
        encoder.run(**given)
    np.testing.assert_array_equal(given["out"], before)


@pytest.mark.parametrize("given", BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_of_another_kind(given: Batch, encoder: _native.Encoder) -> None:
    with pytest.raises(TypeError):
        encoder.run(**given)


def test_a_model_without_types_accepts_type_zero(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    encoder = encoder_over(make_engine_dir(make_spec(HIDDEN, 3, 12, 50, max_positions=LIMIT, type_vocab_size=0)))
    encoder.run(**batch(types=np.zeros(LIMIT + 3, np.int32)))
    with pytest.raises(ValueError, match="token type 1 is outside the vocabulary of 1"):
        encoder.run(**batch())


@pytest.mark.parametrize(("head", "rows", "columns"), [(TokenHead(num_labels=9), 15, 32), (TermHead(), 2, 224)])
def test_rows_of_other_heads(
    head: Any, rows: int, columns: int, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    encoder = encoder_over(make_engine_dir(make_spec(HIDDEN, 3, 12, 50, max_positions=LIMIT, head=head)))
    encoder.run(**batch(out=np.zeros((rows, columns), np.float32)))
    for shape in ((rows - 1, columns), (rows + 1, columns), (rows, columns - 32), (rows, columns + 1)):
        with pytest.raises(ValueError, match=rf"the output must be \[{rows}, {columns}\]"):
            encoder.run(**batch(out=np.zeros(shape, np.float32)))


ATTENTION = {"num_heads": 3, "num_kv_heads": 3, "head_dim": 12}
MODELS: dict[str, dict[str, Any]] = {
    "buckets, convolution, experts": {
        "attention": Attention(**ATTENTION, bias=BucketBias(num_buckets=32, max_distance=128)),
        "convolution": Convolution(width=3, activation="tanh"),
        "experts": Experts(count=2, top_k=1, layers=(1,)),
    },
    "rotary, gated, sandwich": {
        "attention": Attention(**ATTENTION, rotary=Rotary(frequencies=(1.0, 0.5)), norm=LayerNorm(eps=1e-6)),
        "mlp": GatedMLP(intermediate_size=50, activation="silu"),
        "placement": "sandwich",
        "positions": NoPositions(max_positions=LIMIT),
        "head": EmbeddingHead(poolings=("mean", "cls"), steps=(Dense(out_features=40), LayerNorm(eps=1e-5))),
    },
    "disentangled, terms": {
        "attention": Attention(**ATTENTION, bias=Disentangled(span=7, terms=("c2p", "p2c"))),
        "head": TermHead(),
    },
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_is_checked(
    model: str, dtype: Any, make_spec: MakeSpec, make_engine_dir: Callable[..., EngineDir]
) -> None:
    """Each tensor in turn is too short, too long, of another shape or type, or not in C order."""
    whole = make_engine_dir(make_spec(HIDDEN, 3, 12, 50, max_positions=LIMIT, **MODELS[model]), dtype)
    encoder_over(whole)
    for name, tensor in whole.tensors.items():
        if name == "attention.buckets":  # read in Python, by index
            continue
        flat, other_type = tensor.reshape(-1), np.int16 if tensor.dtype.itemsize == 2 else np.int32
        shapes = [flat[:-1], np.concatenate([flat, flat[:1]]), tensor[None], tensor[:-1]]
        for other in (*shapes, tensor.astype(np.float64), *([] if "absorbed" in name else [tensor.view(other_type)])):
            changed_dir = EngineDir(whole.path, whole.manifest, {**whole.tensors, name: other})
            if other.dtype == other_type and other_type == np.int16:
                continue  # bfloat16 is passed as uint16
            with pytest.raises(ValueError, match=rf"tensor {name} is \w+ \[.*\], not \w+ \[.*\]"):
                encoder_over(changed_dir)
        strided = np.repeat(tensor, 2, axis=-1)[..., ::2]
        changed_dir = EngineDir(whole.path, whole.manifest, {**whole.tensors, name: strided})
        with pytest.raises(ValueError, match=rf"tensor {name} is not an array in C order"):
            encoder_over(changed_dir)
