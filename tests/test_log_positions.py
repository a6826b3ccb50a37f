"""Positions by oid, and the class table."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.exc import IntegrityError
from dobbin_like.log.format.record import ENTRY_SIZE
from dobbin_like.log.format.saved import BLOCK_SLOTS
from dobbin_like.log.reading.positions import Positions
from dobbin_like.name_tables import NameTables

changes = st.lists(
    st.tuples(st.lists(st.integers(0, 50), min_size=1, unique=True), st.integers(1, 10**9))
)


@given(changes)
def test_positions_agree_with_a_dict(steps: list[tuple[list[int], int]]) -> None:
    positions = Positions()
    model: dict[int, int] = {}

    for oids, first in steps:
        positions.update(oids, first)
        for index, oid in enumerate(oids):
            model[oid] = first + index * ENTRY_SIZE

    assert {oid: positions.get(oid) for oid in range(60) if positions.get(oid)} == model
    assert positions.stored == len(model)
    assert positions.next_oid == max(model, default=-1) + 1
    slots = [at for block in positions.blocks() for at in block]
    assert slots == [model.get(oid, 0) for oid in range(positions.next_oid)]


def test_an_unknown_oid_has_no_position() -> None:
    positions = Positions()
    positions.update([3], 100)

    assert [positions.get(oid) for oid in (-1, 2, 3, 4, 10**12)] == [0, 0, 100, 0, 0]


def test_saved_positions_are_read_when_they_are_asked_for_once() -> None:
    read = []

    def block(number: int) -> array[int]:
        read.append(number)
        first = number * BLOCK_SLOTS
        return array("Q", range(first, min(first + BLOCK_SLOTS, 2500)))

    positions = Positions(2500, 2499, block)

    assert (positions.next_oid, read) == (2500, [])
    assert positions.newest([2047, 2046, 2499, 2500]) == [2047, 2046, 2499, 0]
    assert read == [1, 2]
    for _ in range(2):  # Nothing of what this reads is kept.
        assert [at for part in positions.blocks() for at in part] == list(range(2500))
    assert read == [1, 2, 0, 0]


def test_saved_positions_grow_and_change() -> None:
    positions = Positions(1, 1, lambda _: array("Q", [100]))

    positions.update([1], 200)
    positions.update([5000], 300)
    positions.update([0], 400)

    assert positions.newest([0, 1, 2, 5000]) == [400, 200, 0, 300]
    assert (positions.stored, positions.next_oid) == (3, 5001)


def test_a_block_that_is_changed_while_another_thread_reads_it_stays_changed() -> None:
    reads: list[int] = []

    def block(number: int) -> array[int]:
        reads.append(number)
        if len(reads) == 1:  # The other thread is faster.
            positions.update([0], 200)
        return array("Q", [100])

    positions = Positions(1, 1, block)

    assert positions.get(0) == 200
    assert reads == [0, 0]


def lost(number: int) -> array[int]:
    if number:
        raise IntegrityError("data.log", number, "nothing", "a block")
    return array("Q", [8] * BLOCK_SLOTS)


def test_positions_that_cannot_be_read_are_as_before() -> None:
    positions = Positions(2000, 2000, lost)

    for _ in range(2):
        with pytest.raises(IntegrityError):
            positions.update([0, 1999], 100)

    assert (positions.get(0), positions.stored, positions.next_oid) == (8, 2000, 2000)


def test_whoever_stores_a_new_object_is_told_before_that_its_block_cannot_be_read() -> None:
    positions = Positions(2000, 2000, lost)

    with pytest.raises(IntegrityError):
        positions.newest([2000])
    assert positions.newest([2048, 10**12]) == [0, 0]
    positions.update([2048, 10**6], 100)
    assert (positions.stored, positions.next_oid) == (2002, 10**6 + 1)


def test_no_slot_is_counted_twice_when_an_update_is_repeated() -> None:
    positions = Positions(2000, 2000, lost)

    for _ in range(2):
        positions.update([5000, 0], 100)

    assert (positions.newest([0, 5000]), positions.stored) == ([100 + ENTRY_SIZE, 100], 2001)


def test_a_class_is_found_by_number_and_by_name() -> None:
    table = NameTables([(1, "m", "A"), (2, "m", "B")])

    assert table.class_name(2) == ("m", "B")
    assert table.class_number("m", "A") == 1
    assert table.class_number("m", "C") is None
    assert table.class_name(3) is None
    assert table.next_number == 3


def test_a_number_that_comes_again_renames_its_class() -> None:
    table = NameTables([(1, "old", "A")])

    table.update([(1, "new", "A")])

    assert table.class_number("old", "A") is None
    assert table.class_number("new", "A") == 1
    assert table.rows() == (((1, "new", "A"),), ())
