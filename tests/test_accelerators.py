"""The hardware rules: which accelerators take which number formats."""

import pytest

from openbei.accelerators import ACCELERATORS, NumberFormat, accelerator_notes, accelerators_with, check_accelerator
from openbei.errors import ConfigError

TAKES: dict[NumberFormat, str] = {
    "float16": "T4 L4 A10G A100 A100_40GB L40S H100 H100_40GB H200 B200 B300 GB300 RTX_PRO_6000",
    "bfloat16": "L4 A10G A100 A100_40GB L40S H100 H100_40GB H200 B200 B300 GB300 RTX_PRO_6000",
    "fp8": "L4 L40S H100 H100_40GB H200 B200 B300 GB300 RTX_PRO_6000",
    "fp4": "B200 B300 GB300 RTX_PRO_6000",
}


@pytest.mark.parametrize("number_format", TAKES)
def test_every_accelerator(number_format: NumberFormat) -> None:
    assert set(accelerators_with(number_format)) == set(TAKES[number_format].split())


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
                (
                    "has no units for fp8; use no_quant, or L4, L40S, H100, H100_40GB, H200, B200, B300, GB300 or "
                    "RTX_PRO_6000",
                    True,
                ),
            ],
        ),
        (
            "H100:2",
            "fp4_mlp_only",
            [
                ("supports float16, bfloat16, fp8", False),
                (
                    "has no units for fp4: weights are expanded to 16 bits; use fp8 on it, or B200, B300, GB300 or "
                    "RTX_PRO_6000",
                    True,
                ),
                ("`bei serve` with this config runs on 2 GPUs", False),
            ],
        ),
        ("V100", "no_quant", [("is too old for openbei", True)]),
        (
            "A10G",
            "fp4",
            [
                ("supports float16, bfloat16", False),
                (
                    "has no units for fp4: weights are expanded to 16 bits; use no_quant on it, or B200, "
                    "B300, GB300 or RTX_PRO_6000",
                    True,
                ),
            ],
        ),
    ],
)
def test_the_accelerator_of_a_config(accelerator: str, quantization: str, notes: list[tuple[str, bool]]) -> None:
    assert list(accelerator_notes(accelerator, quantization)) == [(accelerator, *note) for note in notes]


@pytest.mark.parametrize("accelerator", ["H1000", "h100", "H100:", "H100:0", "H100:two", "L4 ", ":1"])
def test_an_accelerator_that_does_not_exist(accelerator: str) -> None:
    with pytest.raises(ConfigError, match=r"resources\.accelerator is .*; it must be one of T4, L4, A10G"):
        list(accelerator_notes(accelerator, "no_quant"))


def test_an_accelerator_that_nobody_documents() -> None:
    with pytest.raises(ConfigError, match=r"'B10'; it must be one of .*\nhint: truss accepts B10, but Baseten"):
        list(accelerator_notes("B10", "no_quant"))


def test_bfloat16_on_a_gpu_without_it() -> None:
    [_, note] = accelerator_notes("T4", "no_quant", "bfloat16")
    assert note[1].startswith("has no units for bfloat16, so it computes in float16; for bfloat16, use L4, A10G, A100,")
    assert len(list(accelerator_notes("L4", "no_quant", "bfloat16"))) == 1


@pytest.mark.parametrize("quantization", ["no_quant", "weights_int8", "fp8", "fp8_mlp_only", "fp4", "fp4_kv"])
@pytest.mark.parametrize("name", ACCELERATORS)
def test_builds_for_every_accelerator(name: str, quantization: str) -> None:
    """fp8 is refused without its units, fp4 is expanded, and everything is refused on a GPU that is too old."""
    if name == "V100":
        with pytest.raises(ConfigError, match=r"is V100; its compute capability 7.0 is below 7.5(.|\n)*use T4, L4,"):
            check_accelerator(name, quantization)
    elif quantization.startswith("fp8") and name not in TAKES["fp8"].split():
        with pytest.raises(
            ConfigError, match=rf"{name} has no units for fp8\nhint: use no_quant on {name}, or L4, L40S"
        ):
            check_accelerator(f"{name}:2", quantization)
    else:
        check_accelerator(f"{name}:2", quantization)
