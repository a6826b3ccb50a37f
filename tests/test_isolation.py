"""Histories of random transactions of several processes: the store isolates them.

The checker is ``benchmarks/isolation.py``, which runs for as long as one likes, and
``benchmarks/dependencies.py``. It is tried twice: on histories that were written by hand, one
for each anomaly, and on stores that were broken, one for each promise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import isolation
from benchmarks.dependencies import COMMITTED, FAILED, UNKNOWN, Done, anomalies, read_history
from benchmarks.isolation import Plan

if TYPE_CHECKING:
    from pathlib import Path

# -- histories ----------------------------------------------------------------------------


def history(*steps: Any, **final: Any) -> list[Done]:
    """Make a history of transactions that all run at the same time, but for the last one.

    A step has what is read, what is written, and perhaps what Done has otherwise. *final* is
    what everything is at the end.
    """
    made = []
    for number, (reads, writes, *more) in enumerate(steps):
        written = {key: value if type(value) is list else [value] for key, value in writes.items()}
        told = {"outcome": COMMITTED, "begun": 10, "ended": 20, "process": number}
        told.update(*more)
        made.append(Done(thread=number, number=1, reads=reads, writes=written, **told))
    made.append(Done(99, 99, 1, 1000, final, {}, [], COMMITTED, 1001))
    return made


def kinds(made: list[Done], **how: Any) -> set[str]:
    return {anomaly.kind for anomaly in anomalies(made, **how)}


def test_what_runs_one_after_the_other_is_isolated() -> None:
    made = history(
        ({"r": 0}, {"r": 1}, {"begun": 1, "ended": 2}),
        ({"r": 1, "a": []}, {"r": 2, "a": [3, 4]}, {"begun": 3, "ended": 4}),
        ({"r": 2, "a": [3, 4]}, {"a": 5}, {"begun": 5, "ended": 6}),
        r=2,
        a=[3, 4, 5],
    )
    assert kinds(made, serializable=True) == set()


def test_a_circle_of_writes_is_g0() -> None:
    made = history(({}, {"m": 1, "n": 2}), ({}, {"m": 3, "n": 4}), m=[1, 3], n=[4, 2])
    assert kinds(made) == {"G0"}


def test_merged_changes_alone_are_no_anomaly() -> None:
    made = history(({"r": 0}, {"m": 1}), ({"r": 0, "m": []}, {"m": 3, "r": 4}), m=[3, 1], r=4)
    assert kinds(made) == set()


def test_what_a_failed_transaction_has_written_is_g1a() -> None:
    failed = {"outcome": FAILED}
    made = history(({"r": 0}, {"r": 1}, failed), ({"r": 1}, {}), r=0)
    assert "G1a" in kinds(made)
    made = history(({"a": []}, {"a": 1}, failed), a=[1])
    assert "G1a" in kinds(made)


def test_what_was_rolled_back_to_a_savepoint_is_g1a() -> None:
    made = history(({}, {}, {"taken_back": [1]}), ({"r": 1}, {}), r=0)
    assert "G1a" in kinds(made)


def test_what_a_transaction_has_written_over_itself_is_g1b() -> None:
    made = history(({"r": 0}, {"r": [1, 2]}), ({"r": 1}, {}), r=2)
    assert "G1b" in kinds(made)
    made = history(({"a": []}, {"a": [1, 2]}), ({"a": [1]}, {}), a=[1, 2])
    assert "G1b" in kinds(made)


def test_two_that_read_from_each_other_are_g1c() -> None:
    made = history(({"a": [], "b": [2]}, {"a": 1}), ({"b": [], "a": [1]}, {"b": 2}), a=[1], b=[2])
    assert "G1c" in kinds(made)


def test_half_a_transaction_is_g_single() -> None:
    made = history(({"r1": 0, "r2": 0}, {"r1": 1, "r2": 2}), ({"r1": 1, "r2": 0}, {}), r1=1, r2=2)
    assert kinds(made) == {"G-single"}


def test_a_failed_transaction_reads_one_snapshot_too() -> None:
    failed = {"outcome": FAILED}
    made = history(
        ({"r1": 0, "r2": 0}, {"r1": 1, "r2": 2}), ({"r1": 1, "r2": 0}, {}, failed), r1=1, r2=2
    )
    assert kinds(made) == {"G-single"}


def test_two_orders_of_two_writes_are_a_long_fork() -> None:
    made = history(
        ({"r1": 0}, {"r1": 1}),
        ({"r2": 0}, {"r2": 2}),
        ({"r1": 1, "r2": 0}, {}),
        ({"r1": 0, "r2": 2}, {}),
        r1=1,
        r2=2,
    )
    assert kinds(made) == {"G-nonadjacent"}


def test_two_that_write_the_same_register_have_lost_an_update() -> None:
    made = history(({"r": 0}, {"r": 1}), ({"r": 0}, {"r": 2}), r=2)
    assert "lost update" in kinds(made)


def test_an_acknowledged_write_that_is_not_there_is_lost() -> None:
    assert "lost update" in kinds(history(({"a": []}, {"a": 1}), a=[]))


def test_a_write_that_was_acknowledged_before_must_be_read() -> None:
    early, late = {"begun": 1, "ended": 2}, {"begun": 3, "ended": 4}
    made = history(({"r": 0}, {"r": 1}, early), ({"r": 0}, {}, late), r=1)
    assert kinds(made) == {"stale"}
    for done in made[:2]:
        done.process = 7
    assert kinds(made) == {"stale in its own process"}


def test_what_one_has_read_those_that_begin_later_read() -> None:
    early, late, long = (
        {"begun": 1, "ended": 2},
        {"begun": 3, "ended": 4},
        {"begun": 1, "ended": 9},
    )
    made = history(({"r": 0}, {"r": 1}, long), ({"r": 1}, {}, early), ({"r": 0}, {}, late), r=1)
    assert kinds(made) == {"stale"}


def test_what_an_observer_has_read_others_need_not_read() -> None:
    """A writer was killed, and another one has not come yet."""
    killed = {"outcome": UNKNOWN, "ended": None}
    early, late = {"begun": 11, "ended": 12}, {"begun": 13, "ended": 14}
    steps = ({"r": 0}, {"r": 1}, killed), ({"r": 1}, {}, early), ({"r": 0}, {}, late)
    made = history(*steps, r=1)
    made[1].observer = True
    assert kinds(made) == set()
    made[2].observer = True
    assert kinds(made) == set()
    made[2].thread = made[1].thread
    assert kinds(made) == {"stale"}


def test_what_was_not_begun_is_not_read() -> None:
    early, late = {"begun": 1, "ended": 2}, {"begun": 3, "ended": 4}
    made = history(({"r": 1}, {}, early), ({"r": 0}, {"r": 1}, late), r=1)
    assert kinds(made) == {"out of time"}


def test_write_skew_is_an_anomaly_only_where_all_is_checked_out() -> None:
    made = history(({"r1": 0, "r2": 0}, {"r1": 1}), ({"r1": 0, "r2": 0}, {"r2": 2}), r1=1, r2=2)
    assert kinds(made) == set()
    assert kinds(made, serializable=True) == {"G2"}


def test_an_outcome_that_nobody_knows_may_be_either() -> None:
    unknown = {"outcome": UNKNOWN, "ended": None}
    for value in (0, 1):
        assert kinds(history(({"r": 0}, {"r": 1}, unknown), r=value)) == set()
    half = history(({"r1": 0, "r2": 0}, {"r1": 1, "r2": 2}, unknown), r1=1, r2=0)
    assert kinds(half) == {"G-single"}


def test_what_is_in_doubt_may_get_visible_later() -> None:
    noted = [["tries", 1, 1, 5, 10, {}, {"a": [1]}, [], False], ["ended", 5, UNKNOWN, 20]]
    (done,) = read_history(noted)
    assert done.ended is None


def test_a_number_that_nobody_has_written_and_two_orders_of_one_list_are_told() -> None:
    assert kinds(history(a=[1])) == {"garbage"}
    made = history(({}, {"a": 1}), ({}, {"a": 2}), ({"a": [2]}, {}), a=[1, 2])
    assert "order" in kinds(made)


# -- the store ------------------------------------------------------------------------------


def found(directory: Path, seconds: float, seed: int = 1, **plan: Any) -> set[str]:
    """Run one round; return the kinds of what was wrong."""
    wrong, figures = isolation.run(directory, seed, seconds, Plan(**plan))
    if not wrong:
        assert figures[COMMITTED]
    return {anomaly.kind for anomaly in wrong}


def test_random_transactions_of_two_processes_are_isolated(tmp_path: Path) -> None:
    assert found(tmp_path, 2, processes=2, sync=None, perils=False) == set()


@pytest.mark.slow
@pytest.mark.parametrize("careful", [False, True], ids=["snapshots", "serializable"])
@pytest.mark.parametrize("sync", [True, False, None], ids=["sync", "no sync", "mixed"])
def test_transactions_are_isolated_in_spite_of_all_perils(
    tmp_path: Path, sync: bool | None, careful: bool
) -> None:
    assert found(tmp_path, 5, sync=sync, careful=careful) == set()


@pytest.mark.slow
def test_transactions_are_isolated_where_syncs_fail(tmp_path: Path) -> None:
    assert found(tmp_path, 5, sync=None, failing=True) == set()


# -- the checker bites --------------------------------------------------------------------------

BROKEN = [
    ("conflicts_are_ignored", "lost update", False),
    ("unseen_conflicts_are_ignored", "lost update", True),
    ("news_come_after_conflicts", "lost update", False),
    ("commits_in_two_steps", "G0", False),
    ("commits_in_two_steps", "G1c", False),
    ("aborts_commit", "G1a", False),
    ("working_copies_leak", "G1b", False),
    ("published_in_two_steps", "G-single", False),
    ("only_changes_conflict", "G2", False),
    ("views_stay", "stale", False),
    ("own_commits_are_published_late", "stale in its own process", False),
    ("shown_late", "stale", False),
    ("shown_early", "error", False),
]
"""How the store is broken, an anomaly that this leads to, and whether it takes a sync."""


@pytest.mark.slow
@pytest.mark.parametrize(("mutant", "kind", "sync"), BROKEN)
def test_a_broken_store_is_found_out(tmp_path: Path, mutant: str, kind: str, sync: bool) -> None:
    seen: set[str] = set()
    for seed in range(20):  # Chance decides; once is mostly enough, many on a busy machine.
        seen |= found(
            tmp_path,
            2,
            seed,
            sync=sync,
            careful=kind == "G2",
            perils=False,
            packs=False,
            mutant=f"tests.helpers.broken_isolation:{mutant}",
        )
        if kind in seen:
            return
    pytest.fail(f"{kind} was not found, only {sorted(seen)}")
