"""The scale of a chart's axis: values to positions, round tick values, and their labels."""

import math
from dataclasses import dataclass

MAX_TICKS = 9


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to positions from `start` to `end`, linearly or by their logarithms."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    @classmethod
    def around(cls, values: list[float], start: float, end: float, *, is_log: bool) -> "Scale":
        """A scale for these values. A linear one starts at 0; both end at the next round value."""
        positive = [value for value in values if value > 0]
        if not is_log:
            high = max(positive, default=1.0)
            step = _step(high)
            return cls(0.0, math.ceil(high / step - 1e-9) * step, start, end)
        low, high = min(positive, default=1.0), max(positive, default=1.0)
        return cls(_round_down(low), -_round_down(-max(high, low * 1.5)), start, end, True)

    def __call__(self, value: float) -> float:
        """The position of a value, which must be positive on a logarithmic scale."""
        value = max(value, self.low) if self.is_log else value
        low, high, at = (math.log(v) if self.is_log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values on the axis, in ascending order, at most MAX_TICKS."""
        if not self.is_log:
            step = _step(self.high)
            return [step * i for i in range(round(self.high / step) + 1)]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for digits in ((1, 2, 5), (1, 3), (1,)):
            decades = (10.0**exponent for exponent in range(first, last + 1))
            values = [digit * decade for decade in decades for digit in digits]
            inside = [v for v in values if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]
            if len(inside) <= MAX_TICKS:
                break
        return inside


def _step(high: float) -> float:
    """A round step, so that 0 to `high` takes 4 to 8 of them."""
    power: float = 10.0 ** math.floor(math.log10(high / 4))
    return max(power * digit for digit in (1, 2, 5) if power * digit * 4 <= high * (1 + 1e-9))


def _round_down(value: float) -> float:
    """The next value of 1, 2 or 5 times a power of ten toward minus infinity."""
    size = abs(value)
    power = 10.0 ** math.floor(math.log10(size) + 1e-12)
    steps = [power * digit for digit in (1, 2, 5, 10)]
    if value > 0:
        return max(step for step in steps if step <= size * (1 + 1e-9))
    return -min(step for step in steps if step >= size * (1 - 1e-9))


def short_number(value: float) -> str:
    """At most three significant digits: 0.05, 2.5, 120, 12k, 3.4M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"
