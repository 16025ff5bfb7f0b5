"""The table of docs/benchmarks.md with one row for each measured model."""

from dataclasses import dataclass

from openbei.families import FAMILIES, HEADS_BY_SUFFIX, find_family

from .shapes import Shape

TASKS = {
    "embedding": "embed",
    "sequence_labels": "rerank, classify",
    "token_labels": "named entities",
    "term_weights": "SPLADE",
}


@dataclass(frozen=True)
class ModelResult:
    """Results of one model: the worst `cosine` of hidden states in float32, and their `error` in bfloat16.

    The reference is transformers, or the numpy backend without a peer. `error` is relative to that of transformers.
    """

    shape: Shape
    parameters: int
    cosine: float
    error: float | None
    tokens_per_s: dict[str, int]
    ratios: dict[str, float]


def page(results: list[ModelResult]) -> str:
    """The Markdown table, with the families in the order of FAMILIES."""
    order = list(FAMILIES)
    head = (
        "architectures",
        "tasks",
        "shape measured",
        "pooled",
        "parameters",
        "1 - worst cosine, float32",
        "bf16 error, share of transformers'",
        "× transformers bf16",
        "× OpenVINO bf16",
        "tokens/s",
    )
    lines = [head, ("---",) * len(head)]
    lines += [
        cells(result) for result in sorted(results, key=lambda result: order.index(result.shape.architecture_prefix))
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(result: ModelResult) -> tuple[str, ...]:
    """The cells of one row."""
    shape = result.shape
    family, _ = find_family(shape.architecture)
    kinds = {kind for ends in HEADS_BY_SUFFIX.values() for kind in ends} & set(family.HEADS)
    layers = f", {shape.config['num_hidden_layers']} of {shape.full_num_layers} layers" if shape.full_num_layers else ""
    ratios = [result.ratios.get(f"{peer} bf16") for peer in ("transformers", "OpenVINO")]
    return (
        ", ".join([shape.architecture_prefix, *shape.also_prefixes]),
        ", ".join(words for kind, words in TASKS.items() if kind in kinds),
        shape.model + layers,
        shape.pooling.replace("_", " "),
        f"{result.parameters / 1e6:,.0f} M",
        f"{max(1 - result.cosine, 0):.0e}{'' if shape.has_peer else ' †'}",
        *("" if number is None else f"{number:.2f}" for number in (result.error, *ratios)),
        f"{result.tokens_per_s['openbei']:,}",
    )
