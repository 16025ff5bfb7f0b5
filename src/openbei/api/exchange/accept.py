"""Accept and Accept-Encoding: the names in them, with their weights (RFC 9110, 12.4.2)."""


def weights(header: bytes) -> dict[str, float]:
    """Lower-case names with their q, 0 to 1; an invalid q counts as 0."""
    qualities: dict[str, float] = {}
    for item in header.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name:
            qualities[name] = next((_quality(p.partition("=")[2]) for p in parameters if p.startswith("q")), 1.0)
    return qualities


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
