"""Vectors of tokens, of texts and token ids, and their encodings."""

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from openbei.api.exchange.call import Call
from openbei.api.exchange.encoding import base64_text, floats
from openbei.api.limits import MAX_TOKEN_NUMBERS, check_answer
from openbei.api.operations.inputs import Inputs, Prompt, named_prompt, tokenize_inputs
from openbei.api.operations.wrong_task import require_token_vectors
from openbei.api.pipeline import run, split_by_sequence
from openbei.api.service import Service
from openbei.batch import Output, Sequence, Vectors
from openbei.errors import InputError
from openbei.serving.truncation import TruncationOptions
from openbei.tasks.embed import check_dimensions, to_embeddings
from openbei.tasks.finite import check_finite
from openbei.tasks.late_interaction import token_vectors
from openbei.tasks.precision import quantize

Side = Literal["query", "document"]
"""What a text is for."""

EmbedDType = Literal["float32", "float16", "int8", "ubinary"]
"""The number format of vectors in base64."""

Matrix = list[list[float]] | str
"""The vectors of a text on the wire: rows of numbers, or base64 of all rows."""

ENCODERS: dict[EmbedDType, Callable[[Vectors], NDArray[Any]]] = {
    "float32": lambda vectors: vectors,
    "float16": lambda vectors: vectors.astype(np.float16),
    "int8": lambda vectors: quantize(vectors, "int8"),
    "ubinary": lambda vectors: quantize(vectors, "ubinary"),
}
"""Number format -> vectors float32 [n, D] in this format, [n, D] or for ubinary [n, D / 8]."""


async def embed_tokens(
    service: Service,
    call: Call,
    inputs: Inputs,
    truncation: TruncationOptions,
    *,
    side: Side | None,
    prompt_name: str | None = None,
    dimensions: int | None = None,
    encode: Callable[[Vectors], Matrix],
    param: str,
) -> list[Matrix]:
    """The encoded vectors of each input, float32 [n, D] before that.

    Late interaction reads documents unless `side` is query; for other models, it selects a prompt. Vectors are cut to
    `dimensions`, then normalized again. Raises WrongTaskError, InputError, and what `run` raises.
    """
    manifest = service.model.manifest
    require_token_vectors(manifest)
    check_dimensions(dimensions, manifest.spec.output_width)
    late, is_query = manifest.late_interaction, side == "query"
    output: Output = "vectors" if late else "tokens"

    def check(sequences: list[Sequence]) -> None:
        width = manifest.spec.output_width if late else manifest.spec.hidden_size
        check_answer(call.totals, sequences, width, MAX_TOKEN_NUMBERS, param)

    def finish(rows: Vectors, sequences: list[Sequence]) -> list[Matrix]:
        parts = split_by_sequence(rows, sequences)
        if late:
            both = zip(parts, sequences, strict=True)
            parts = [token_vectors(part, sequence, late, is_query=is_query) for part, sequence in both]
        else:
            check_finite(rows)
        if dimensions:
            parts = [to_embeddings(part, normalize=True, dimensions=dimensions) for part in parts]
        return [encode(part) for part in parts]

    prompt = _prompt(service, side, prompt_name)
    tokenization = tokenize_inputs(service, inputs, truncation, prompt=prompt, param=param, is_query=is_query)
    return await run(service, call, tokenization, finish, output=output, check_sequences=check)


def encoder(encoding: Literal["float", "base64"] | None, dtype: EmbedDType | None) -> Callable[[Vectors], Matrix]:
    """The encoder of the vectors of a text. Raises InputError for a format that JSON numbers do not have."""
    if encoding == "base64":
        to = ENCODERS[dtype or "float32"]
        return lambda vectors: base64_text(to(vectors))
    if dtype not in (None, "float32"):
        raise InputError(
            f"embed_dtype is {dtype!r}, which needs base64", param="embed_dtype", hint="send encoding_format base64"
        )
    return lambda vectors: [floats(row) for row in cast(list[Vectors], vectors)]


def _prompt(service: Service, side: Side | None, name: str | None) -> Prompt | None:
    """The requested prompt. For late interaction, `side` selects one where there is no name."""
    if side is None or service.model.manifest.late_interaction:
        return named_prompt(service, name)
    if name is not None:
        raise InputError("prompt_name and input_type both select a prompt", param="input_type", hint="send one")
    return Prompt(service.model.prompts.for_purpose(side, "input_type"), "input_type")
