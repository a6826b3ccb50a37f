"""Snapshots: which version one sees, what a working copy is, who looks furthest back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.objects.faces.view import Horizon, View, visible_version
from dobbin_like.objects.faces.working_copy import PENDING

tids = st.integers(1, 20)


def newest_first(numbers):
    return tuple((tid, {"tid": tid}) for tid in sorted(numbers, reverse=True))


@given(st.sets(tids, min_size=1), tids)
def test_a_snapshot_sees_the_newest_version_that_is_not_younger(numbers, snapshot):
    expected = max((tid for tid in numbers if tid <= snapshot), default=None)

    found = visible_version(newest_first(numbers), snapshot)

    assert (found and found[0]) == expected


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_the_horizon_is_the_oldest_snapshot_that_is_read(steps):
    horizon = Horizon()
    reading: list[View] = []
    tid = 1
    for enter, number in steps:
        if enter or not reading:
            tid += number
            reading.append(View({}))
            horizon.enter(reading[-1], tid)
        else:
            horizon.snapshots.pop(reading.pop(number % len(reading)))
        oldest = min((view.tid for view in reading), default=None)
        for asked in range(tid - number - 2, tid + 2):
            assert horizon.has_older(asked) == (oldest is not None and oldest < asked)
        assert horizon.oldest() == oldest


def test_leaving_twice_is_leaving_once():
    horizon = Horizon()
    one, two = View({}), View({})
    horizon.enter(one, 1)
    horizon.enter(two, 1)

    horizon.snapshots.pop(one, None)
    horizon.snapshots.pop(one, None)

    assert horizon.oldest() == 1
    horizon.snapshots.pop(two, None)
    assert horizon.oldest() is None


@given(st.sets(tids, min_size=1), st.lists(tids, max_size=6))
def test_pruning_keeps_what_somebody_sees_and_the_newest_and_nothing_else(numbers, snapshots):
    horizon = Horizon()
    chain = newest_first(numbers)
    views = [View({}) for _ in snapshots]
    for view, snapshot in zip(views, snapshots, strict=True):
        horizon.enter(view, snapshot)

    pruned = horizon.prune(chain)

    seen = {version[0] for s in snapshots if (version := visible_version(chain, s))}
    assert {version[0] for version in pruned} == seen | {chain[0][0]}
    assert [version[0] for version in pruned] == sorted(seen | {chain[0][0]}, reverse=True)


def test_a_value_that_was_not_read_has_a_name():
    assert repr(PENDING) == "<not read>"
