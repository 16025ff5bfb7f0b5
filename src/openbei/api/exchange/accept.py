"""Accept and Accept-Encoding: the names in them, with their weights (RFC 9110, 12.4.2)."""

HTML, JSON = "text/html", "application/json"


def weights(header: bytes) -> dict[str, float]:
    """Lower-case names with their q, 0 to 1; an invalid q counts as 0."""
    qualities: dict[str, float] = {}
    for item in header.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name:
            qualities[name] = next((_quality(p.partition("=")[2]) for p in parameters if p.startswith("q")), 1.0)
    return qualities


def prefers_html(header: bytes | None) -> bool:
    """Whether an Accept header names HTML and does not prefer JSON, as browsers do for a page."""
    if not header or HTML.encode() not in header.lower():
        return False
    qualities = weights(header)
    return qualities.get(HTML, 0) > 0 and qualities.get(HTML, 0) >= qualities.get(JSON, 0)


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
