"""The hardware rules: which accelerators take which number formats."""

import pytest

from openbei.accelerators import ACCELERATORS, NumberFormat, accelerators_with, why_refused
from openbei.gpus import Capability, Gpu

TAKES: dict[NumberFormat, str] = {
    "float16": "T4 L4 A10G A100 H100 H100_40GB H200 B200",
    "bfloat16": "L4 A10G A100 H100 H100_40GB H200 B200",
    "fp8": "L4 H100 H100_40GB H200 B200",
    "fp4": "B200",
}


@pytest.mark.parametrize("number_format", TAKES)
def test_every_accelerator(number_format: NumberFormat) -> None:
    assert set(accelerators_with(number_format)) == set(TAKES[number_format].split())
    for name, accelerator in ACCELERATORS.items():
        refused = why_refused(Gpu(0, name, accelerator.capability, 0), number_format)
        assert (refused is None) == (name in TAKES[number_format].split())


@pytest.mark.parametrize(
    ("name", "number_format", "reason", "alternative"),
    [
        ("A100", "fp8", "A100 has compute capability 8.0; fp8 needs 8.9 or later (L4, H100,", "use bfloat16"),
        ("H100", "fp4", "H100 has compute capability 9.0; fp4 needs 10.0 or later (B200)", "use fp8"),
        ("T4", "bfloat16", "T4 has compute capability 7.5; bfloat16 needs 8.0 or later", "use float16"),
    ],
)
def test_a_refusal_names_the_card_and_the_alternative(
    name: str, number_format: NumberFormat, reason: str, alternative: str
) -> None:
    refused = why_refused(Gpu(0, name, ACCELERATORS[name].capability, 0), number_format)
    assert refused
    assert reason in refused[0]
    assert alternative in refused[1]


def test_a_card_that_takes_nothing() -> None:
    refused = why_refused(Gpu(0, "Tesla V100", Capability(7, 0), 0), "float16")
    assert refused == (
        "Tesla V100 has compute capability 7.0; float16 needs 7.5 or later (T4, L4, A10G, A100, H100, H100_40GB, H200, "
        "B200)",
        "use another GPU, or --device cpu",
    )
