"""English texts of any length for tests, from Python's help topics."""

import itertools
import random
from pydoc_data.topics import topics

WORDS = " ".join(topics[name] for name in sorted(topics)).split()


def texts(count: int, *, longest: int, seed: int = 0) -> list[str]:
    """`count` texts with log-uniform lengths in words; the first has one word, the last has `longest`."""
    pick = random.Random(seed)
    lengths = [1, *(int(longest ** pick.random()) for _ in range(count - 2)), longest][:count]
    starts = (pick.randrange(len(WORDS) - longest) for _ in itertools.count())
    return [" ".join(WORDS[start : start + length]) for start, length in zip(starts, lengths, strict=False)]
