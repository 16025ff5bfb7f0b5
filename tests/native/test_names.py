"""The names that Python and the compiled module share: activations, poolings and the fields of a spec."""

from typing import Any, get_args

import pytest

from openbei import _native
from openbei.backends import native
from openbei.backends.activations import ACTIVATIONS
from openbei.spec import Activation, ModelSpec, Pooling
from tests.native.conftest import MakeEngineDir, MakeSpec


def test_activations() -> None:
    names = set(get_args(Activation))
    assert set(_native.activations) == names | {"none"}
    assert set(ACTIVATIONS) == names


def test_poolings() -> None:
    assert set(_native.poolings) == {*get_args(Pooling), "tokens"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_sizes": 3}, "unknown spec field hidden_sizes"),
        ({"hidden_size": None}, "the spec has no hidden_size"),
        ({"hidden_size": 2**31}, "hidden_size is 2147483648; it must be between 0 and 2147483647"),
        ({"hidden_size": "64"}, "hidden_size has the wrong type"),
        ({"activation": "swish"}, "unknown activation swish; known: none gelu gelu_tanh relu sigmoid silu tanh"),
        ({"poolings": ["mean", 3]}, "poolings has the wrong type"),
        ({"poolings": []}, "invalid spec: at least one pooling is needed"),
        ({"is_local": [False]}, "invalid spec: is_local and num_experts must have one element for each layer"),
        ({"num_kv_heads": 3}, "invalid spec: num_heads must be a multiple of num_kv_heads"),
        ({"rotary_dim": 3}, "invalid spec: rotary_dim must be even and at most head_dim"),
        ({"max_positions": 1101}, r"invalid spec: first_position \+ max_positions must be at most position_table_rows"),
    ],
)
def test_fields_are_checked(
    changes: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    make_spec: MakeSpec,
    make_engine_dir: MakeEngineDir,
) -> None:
    fields_of = native._fields

    def changed(spec: ModelSpec, max_positions: int) -> dict[str, Any]:
        fields = fields_of(spec, max_positions) | changes
        return {name: value for name, value in fields.items() if value is not None}

    monkeypatch.setattr(native, "_fields", changed)
    with pytest.raises(ValueError, match=message):
        native.encoder_over(make_engine_dir(make_spec()))
