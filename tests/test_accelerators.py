"""The hardware rules: which accelerators take which number formats."""

import pytest

from openbei.accelerators import ACCELERATORS, NumberFormat, accelerator_notes, accelerators_with, why_refused
from openbei.errors import ConfigError
from openbei.gpus import Capability, Gpu

TAKES: dict[NumberFormat, str] = {
    "float16": "T4 L4 A10G A100 A100_40GB L40S H100 H100_40GB H200 B200 B300 GB300 RTX_PRO_6000",
    "bfloat16": "L4 A10G A100 A100_40GB L40S H100 H100_40GB H200 B200 B300 GB300 RTX_PRO_6000",
    "fp8": "L4 L40S H100 H100_40GB H200 B200 B300 GB300 RTX_PRO_6000",
    "fp4": "B200 B300 GB300 RTX_PRO_6000",
}


@pytest.mark.parametrize("number_format", TAKES)
def test_every_accelerator(number_format: NumberFormat) -> None:
    assert set(accelerators_with(number_format)) == set(TAKES[number_format].split())
    for name, capability in ACCELERATORS.items():
        refused = why_refused(Gpu(0, name, capability, 0), number_format)
        assert (refused is None) == (name in TAKES[number_format].split())


@pytest.mark.parametrize(
    ("name", "number_format", "reason", "alternative"),
    [
        ("A100", "fp8", "A100 has compute capability 8.0; fp8 needs 8.9 or later (L4, L40S, H100,", "use bfloat16"),
        ("H100", "fp4", "H100 has compute capability 9.0; fp4 needs 10.0 or later (B200,", "use fp8"),
        ("T4", "bfloat16", "T4 has compute capability 7.5; bfloat16 needs 8.0 or later", "use float16"),
    ],
)
def test_a_refusal_names_the_card_and_the_alternative(
    name: str, number_format: NumberFormat, reason: str, alternative: str
) -> None:
    refused = why_refused(Gpu(0, name, ACCELERATORS[name], 0), number_format)
    assert refused
    assert reason in refused[0]
    assert alternative in refused[1]


def test_a_card_that_takes_nothing() -> None:
    refused = why_refused(Gpu(0, "Tesla V100", Capability(7, 0), 0), "float16")
    assert refused
    assert refused[0].startswith("Tesla V100 has compute capability 7.0; float16 needs 7.5 or later (T4, L4, A10G,")
    assert refused[1] == "use another GPU, or --device cpu"


@pytest.mark.parametrize(
    ("accelerator", "quantization", "notes"),
    [
        ("H100", "fp8", [("supports float16, bfloat16, fp8", False)]),
        ("L4:1", "no_quant", [("supports float16, bfloat16, fp8", False)]),
        (
            "A100",
            "fp8_kv",
            [
                ("supports float16, bfloat16", False),
                ("has no units for fp8: weights are expanded to 16 bits", True),
            ],
        ),
        (
            "H100:2",
            "fp4_mlp_only",
            [
                ("supports float16, bfloat16, fp8", False),
                ("has no units for fp4: weights are expanded to 16 bits", True),
                ("a process uses one GPU: start a process for each, with --device cuda:N", True),
            ],
        ),
        ("V100", "no_quant", [("is too old for openbei", True)]),
    ],
)
def test_the_accelerator_of_a_config(accelerator: str, quantization: str, notes: list[tuple[str, bool]]) -> None:
    assert list(accelerator_notes(accelerator, quantization)) == [(accelerator, *note) for note in notes]


@pytest.mark.parametrize("accelerator", ["H1000", "h100", "H100:", "H100:0", "H100:two", "L4 ", ":1"])
def test_an_accelerator_that_does_not_exist(accelerator: str) -> None:
    with pytest.raises(ConfigError, match=r"resources\.accelerator is .*; it must be one of T4, L4, A10G"):
        list(accelerator_notes(accelerator, "no_quant"))
