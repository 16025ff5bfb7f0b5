"""The base class of all parts of a spec."""

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base class of all parts: immutable, compared by value; decoding refuses unknown fields."""
