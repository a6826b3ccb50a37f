"""The simulation of the log: a few seeds, some mutants, and schedules that chance hardly meets.

``python -m benchmarks.simulate`` does the same for as long as one likes.
"""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from benchmarks.mutants import MUTANTS
from benchmarks.simulate import find
from dobbin_like.log import TransactionLog
from dobbin_like.log.format.header import WORDS_OFFSET
from dobbin_like.testing import (
    Injected,
    Killed,
    Machine,
    Process,
    kinds_of,
    mutated,
    simulate,
    simulated,
)
from dobbin_like.testing.instance import PATH
from dobbin_like.testing.standins import SimulatedLock
from tests.helpers.steps import in_thread

SEEDS = (*range(1, 13), 102)  # The last one packs a log that is not there.
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


def test_a_header_page_that_was_lost_with_a_sync_that_failed_is_written_again() -> None:
    """Else the file that has grown since would be no log after a power cut."""
    machine = Machine(random=Random(1), faults=Injected(sync=1.0))
    creator, other = Process(machine), Process(machine)

    def die(what: str) -> None:
        if what == "failed sync":
            creator.kill()

    machine.on_event = die
    with simulated(machine):
        with creator, suppress(Killed):
            TransactionLog(PATH).acquire()
        machine.faults.none()
        assert not machine.disk.at(PATH).is_certain(0, WORDS_OFFSET)
        with other:
            TransactionLog(PATH)
        assert machine.disk.at(PATH).is_certain(0, WORDS_OFFSET)


def test_a_lock_is_given_back_by_its_owner_alone() -> None:
    # The log gives back what it may not have, and takes the RuntimeError for the answer.
    machine = Machine(random=Random(1))
    with simulated(machine), Process(machine):
        lock = SimulatedLock(again=True)
        lock.acquire()

        def give_back() -> None:
            with pytest.raises(RuntimeError):
                lock.release()

        in_thread(give_back)
        assert lock.locked()
        lock.release()
        in_thread(give_back)
        assert not lock.locked()
