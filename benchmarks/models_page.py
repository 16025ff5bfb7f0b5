"""The table of docs/benchmarks.md: one row for each model that was measured."""

from dataclasses import dataclass

from openbei.families import FAMILIES, HEADS_BY_SUFFIX, find_family

from .shapes import Shape

TASKS = {
    "embedding": "embed", "sequence_labels": "rerank, classify", "token_labels": "named entities",
    "term_weights": "SPLADE",
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One model: hidden states' worst `cosine` in float32, and `error` in bfloat16 as a share of the peer's.

    Without a peer the numpy reference is the judge.
    """

    shape: Shape
    parameters: int
    cosine: float
    error: float | None
    tokens_per_s: dict[str, int]
    ratios: dict[str, float]


def page(found: list[Measured]) -> str:
    """Markdown: one row for each model, the families in the order of FAMILIES."""
    order = list(FAMILIES)
    head = (
        "architectures", "tasks", "shape measured", "pooled", "parameters", "1 - worst cosine, float32",
        "bf16 error, share of transformers'", "× transformers bf16", "× OpenVINO bf16", "tokens/s",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    lines += [cells(one) for one in sorted(found, key=lambda one: order.index(one.shape.beginning))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(one: Measured) -> tuple[str, ...]:
    """One row."""
    shape = one.shape
    family, _ = find_family(shape.architecture)
    kinds = {kind for ends in HEADS_BY_SUFFIX.values() for kind in ends} & set(family.HEADS)
    layers = f", {shape.changes['num_hidden_layers']} of {shape.of_layers} layers" if shape.of_layers else ""
    ratios = [one.ratios.get(f"{who} bf16") for who in ("transformers", "OpenVINO")]
    return (
        ", ".join([shape.beginning, *shape.also]),
        ", ".join(words for kind, words in TASKS.items() if kind in kinds),
        shape.model + layers,
        shape.pooling.replace("_", " "),
        f"{one.parameters / 1e6:,.0f} M",
        f"{max(1 - one.cosine, 0):.0e}{'' if shape.has_peer else ' †'}",
        *("" if number is None else f"{number:.2f}" for number in (one.error, *ratios)),
        f"{one.tokens_per_s['openbei']:,}",
    )
