"""The metrics of several processes as one: sums of the series in Prometheus's text format."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client.utils import floatToGoString


@dataclass(slots=True)
class Family:
    """A metric: the lines that describe it, and the value of each series."""

    description: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)

    @property
    def is_gauge(self) -> bool:
        """Whether its values may fall."""
        return any(line.startswith("# TYPE ") and line.endswith(" gauge") for line in self.description)


def merged(texts: Iterable[bytes]) -> bytes:
    """The sums of all series; of the times when series were created, the first."""
    families: dict[str, Family] = {}
    for text in texts:
        for name, family in _families(text).items():
            total = families.setdefault(name, Family(family.description))
            for series, value in family.values.items():
                so_far = total.values.get(series)
                if so_far is None:
                    total.values[series] = value
                elif value and series.partition("{")[0].endswith("_created"):
                    total.values[series] = min(so_far, value)
                elif value:
                    total.values[series] = so_far + value
    return _text(families)


def counters(text: bytes) -> bytes:
    """The metrics that only increase, and so outlive their process."""
    return _text({name: family for name, family in _families(text).items() if not family.is_gauge})


def _families(text: bytes) -> dict[str, Family]:
    """The metrics by name, in the order of the text."""
    families: dict[str, Family] = {}
    family = Family()
    for line in text.decode().splitlines():
        if line.startswith("# "):
            family = families.setdefault(line.split(" ", 3)[2], Family())
            family.description.append(line)
        elif line:
            series, _, value = line.rpartition(" ")
            family.values[series] = float(value)
    return families


def _text(families: dict[str, Family]) -> bytes:
    lines = [
        line
        for family in families.values()
        for line in (*family.description, *(f"{name} {_number(value)}" for name, value in family.values.items()))
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text
