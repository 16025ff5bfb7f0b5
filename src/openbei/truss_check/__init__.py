"""What Baseten would refuse in a config.yaml: the rules of truss 0.18.36, reimplemented.

They say nothing about `bei`: most of these values have no effect on it. `bei check` shows both.
"""

from collections.abc import Iterator

from openbei.truss_check.kinds import Problem
from openbei.truss_check.schema import CONFIG

TRUSS_VERSION = "0.18.36"
"""The version whose rules these are."""


def problems(raw: object) -> Iterator[Problem]:
    """What truss refuses in a decoded file: dotted path, and what is wrong."""
    yield from CONFIG.problems(raw, "")
