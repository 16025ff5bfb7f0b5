"""LateInteraction: how models with a vector for each token (ColBERT) read queries and documents, as data."""

import msgspec


class LateInteraction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Queries have at most `query_length` tokens, documents at most `document_length`.

    `query_marker` and `document_marker` are ids that follow the first token; None is no marker. Shorter queries are
    expanded to `expanded_length` tokens with `expansion_id`. Document tokens in `skipped_ids` have no vector.
    """

    query_length: int
    document_length: int
    query_marker: int | None = None
    document_marker: int | None = None
    expansion_id: int | None = None
    expanded_length: int = 0
    skipped_ids: tuple[int, ...] = ()
