"""Texts cut to a number of tokens of their own, before they are put together to be scored."""

from openbei.api.call import Call
from openbei.api.inference import off_loop
from openbei.api.service import Service
from openbei.errors import InputError

QUERIES, DOCUMENTS = "max_tokens_per_query", "max_tokens_per_doc"
"""The fields that say how many."""


async def shortened(
    service: Service, call: Call, texts: list[str], max_tokens: int | None, field: str, param: str | None = None
) -> list[str]:
    """Texts, each without what comes after its first `max_tokens` tokens; all of them where that is None or 0.

    `field` is what holds the number, `param` the field of the texts. Raises InputError for a number below 0.
    """
    if not max_tokens:
        return texts
    if max_tokens < 0:
        raise InputError(f"{field} is {max_tokens}; it must be 0 (no limit) or more", param=field)
    call.check_deadline()
    return await off_loop(
        call, lambda: [service.tokenizer.cut_text(text, max_tokens) for text in texts], sum(map(len, texts))
    )
