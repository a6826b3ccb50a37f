"""Positions by oid, and the class table."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.log.format.record import ENTRY_SIZE
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
    again = Positions.decode(array("Q", positions.encode()), positions.stored)
    assert list(again.slots) == [model.get(oid, 0) for oid in range(again.next_oid)]


def test_an_unknown_oid_has_no_position() -> None:
    positions = Positions()
    positions.update([3], 100)

    assert [positions.get(oid) for oid in (-1, 2, 3, 4, 10**12)] == [0, 0, 100, 0, 0]


def test_growing_leaves_the_array_of_a_reader_alone() -> None:
    positions = Positions()
    positions.update([0], 100)
    seen = positions.slots

    positions.update([10**5], 200)

    assert seen[0] == 100
    assert positions.slots is not seen


def test_positions_can_grow_after_they_were_loaded() -> None:
    positions = Positions.decode(array("Q", (100).to_bytes(8, "little")), 1)

    positions.update([1], 200)

    assert (positions.get(0), positions.get(1), positions.stored) == (100, 200, 2)


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
