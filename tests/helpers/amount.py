"""How much a test tries: everything in the profile "long", samples from all over in the others.

The profile is that of Hypothesis; see ``conftest.py``.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LONG", "spread", "step"]

LONG = settings.default.max_examples >= 1000


def spread(items: Sequence[int], share: float, seed: int) -> list[int]:
    """Return some of *items*: *share* for each example that Hypothesis takes; or all of them."""
    count = len(items)
    if not LONG:
        count = min(count, round(share * settings.default.max_examples))
    choice = random.Random(seed)
    # One from each of as many neighbourhoods of the same size.
    edges = [len(items) * index // count for index in range(count + 1)]
    return [items[choice.randrange(*pair)] for pair in itertools.pairwise(edges)]


def step(short: int) -> int:
    """Return how far a test goes from one place to the next that it tries: *short*, or 1."""
    return 1 if LONG else short
