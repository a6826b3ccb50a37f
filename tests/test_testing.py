"""The simulation of the log: a few seeds, some mutants, and schedules that chance hardly meets.

``python -m benchmarks.simulate`` does the same for as long as one likes.
"""

from __future__ import annotations

import pytest

from benchmarks.mutants import MUTANTS
from benchmarks.simulate import find
from dobbin_like.testing import kinds_of, mutated, simulate

SEEDS = range(1, 13)
FOUND_AT_ONCE = (
    "no recovery",
    "recovery does not sync",
    "recovery believes LOOSE",
    "recovery keeps LOOSE",
    "recovery keeps APPENDED",
)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_promise_is_broken(seed: int) -> None:
    outcome = simulate(seed, share=0.03)

    assert outcome.fault == "", outcome.trace


def test_a_seed_tells_all_that_happens() -> None:
    first, second = simulate(3, share=0.02), simulate(3, share=0.02)

    assert first == second
    assert first.calls > 0
    assert first.kinds == kinds_of(3)


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.name in FOUND_AT_ONCE], ids=str)
def test_a_mutant_is_found(mutant) -> None:
    fault, _ = find(mutant, 40, 1)

    assert fault


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_one(mutant) -> None:
    with mutated(mutant):
        pass
