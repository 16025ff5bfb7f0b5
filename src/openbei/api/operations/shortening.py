"""Separate truncation of queries and documents, before they are joined to pairs."""

from openbei.api.exchange.call import Call
from openbei.api.pipeline import off_loop
from openbei.api.service import Service
from openbei.errors import InputError
from openbei.serving.library import INLINE_CHARACTERS

QUERIES, DOCUMENTS = "max_tokens_per_query", "max_tokens_per_doc"
"""Request fields with the number of tokens."""


async def shorten(service: Service, call: Call, texts: list[str], max_tokens: int | None, field: str) -> list[str]:
    """Truncate texts to their first `max_tokens` tokens; None or 0 means no limit. `field` is the request's field.

    Raises InputError for a negative number.
    """
    if not max_tokens:
        return texts
    if max_tokens < 0:
        raise InputError(f"{field} is {max_tokens}; it must be 0 (no limit) or more", param=field)
    call.check_deadline()
    cut_text = service.model.tokenizer.cut_text
    is_long = sum(map(len, texts)) > INLINE_CHARACTERS
    return await off_loop(call, lambda: [cut_text(text, max_tokens) for text in texts], is_long=is_long)
