"""Long lists of references are looked at without being built: what is shown is the same."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.database import Database
from dobbin_like.ids import DELTA
from dobbin_like.objects.codec import state_reader
from dobbin_like.objects.codec.shown.long_list import long_list
from dobbin_like.persistent import (
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    checkout,
)
from dobbin_like.storage import MemoryLog
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("rich")

from dobbin_like.cli.stored import Snapshot, StoredObject


class Together(NamedTuple):
    """Stands for a list of objects of one class."""

    pid: tuple[tuple[int, ...], int]


class Pickler(pickle.Pickler):
    """Writes states as an Encoder does; complex numbers stand for objects."""

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is Together:
            return obj.pid
        return (int(obj.real), int(obj.imag)) if type(obj) is complex else None


def encoded(state: Any) -> bytes:
    file = io.BytesIO()
    Pickler(file, 5).dump(state)
    return file.getvalue()


def read(state: Any) -> list[complex] | None:
    found = long_list(encoded(state))
    return None if found is None else [complex(*each) for each in found]


NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, 2**31 - 1))
REFERENCES = st.builds(complex, NUMBERS, st.integers(1, 70_000))
OTHERS = st.one_of(
    st.none(), st.integers(), st.text(), st.binary(), st.floats(), st.just([]), st.just((1, 2))
)


@given(st.lists(REFERENCES))
def test_every_list_of_references_is_known_and_read(items: list[complex]) -> None:
    assert read((items,)) == items


@given(st.lists(NUMBERS, min_size=4), st.integers(1, 70_000))
def test_a_list_of_one_class_is_known_and_read(oids: list[int], number: int) -> None:
    together = Together((tuple(oids), number))

    assert read((together,)) == [complex(oid, number) for oid in oids]
    assert read(([together],)) is None
    assert read((together, 1)) is None


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2000, 20_000])
def test_batches_and_frames_make_no_difference(count: int) -> None:
    items = [complex(number * 40, 300 * (number % 3)) for number in range(count)]
    oids = tuple(range(0, 40 * (count + 4), 40))

    assert read((items,)) == items
    assert read((Together((oids, 3)),)) == [complex(oid, 3) for oid in oids]


@given(st.lists(REFERENCES), OTHERS, st.lists(REFERENCES))
def test_a_list_with_anything_else_is_none(left: list[Any], other: Any, right: list[Any]) -> None:
    assert read(([*left, other, *right],)) is None
    assert read(([*left, *right], other)) is None
    assert read([*left, *right]) is None


@pytest.mark.parametrize("state", [[1 + 1j] * 3, Together((tuple(range(9)), 3))])
def test_what_is_cut_off_or_goes_on_is_none(state: Any) -> None:
    data = encoded((state,))

    assert long_list(data) is not None
    assert [end for end in range(len(data)) if long_list(data[:end]) is not None] == []
    assert long_list(data + b"N") is None


def append(items: Any) -> None:
    items.append(items[0])


def remove(items: Any) -> None:
    del items[1:3]


def add_text(items: Any) -> None:
    items.append("a text")


@pytest.mark.parametrize("change", [None, append, remove, add_text])
@pytest.mark.parametrize("is_known", [True, False])
def test_the_items_of_a_list_are_the_same(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None] | None, is_known: bool
) -> None:
    with Database(MemoryLog()) as database:
        fill(database, PersistentList, is_known=is_known)
        if change is not None:
            with database.transaction() as root:
                checkout(root["items"])
                change(root["items"])
        assert_same_parts(monkeypatch, database)


@pytest.mark.parametrize("kind", [PersistentSet, PersistentQueue, tuple])
def test_the_items_of_other_collections_are_the_same(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    with Database(MemoryLog()) as database:
        fill(database, kind, is_known=True)
        assert_same_parts(monkeypatch, database)


def fill(database: Database[Any], kind: Any, count: int = 2500, *, is_known: bool) -> None:
    """Store a collection; if the class of its items is known before, it is written otherwise."""
    with database.transaction():
        database.set_root(PersistentDict(thing=Thing() if is_known else None))
    with database.transaction() as root:
        checkout(root)
        root["items"] = kind(Thing() for _ in range(count))


def assert_same_parts(monkeypatch: pytest.MonkeyPatch, database: Database[Any]) -> None:
    transaction.begin()
    shown = []
    for size in (1 << 20, 1):
        monkeypatch.setattr(state_reader, "LARGE", size)
        with Snapshot(database) as snapshot:
            found = snapshot.find("items")
            shown.append([*snapshot.parts(found)])
            assert [*snapshot.parts(found, 2400)] == shown[-1][2400:]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("is_known", [True, False])
def test_only_what_is_looked_at_takes_memory(
    monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    monkeypatch.setattr(state_reader, "LARGE", 1)
    with Database(MemoryLog()) as database:
        fill(database, PersistentList, 20_000, is_known=is_known)
        with database.transaction() as root:
            checkout(root["items"])
            append(root["items"])
        transaction.begin()
        with Snapshot(database) as snapshot:
            found = snapshot.find("items")
            assert isinstance(found, StoredObject)
            assert found.stored.number & DELTA
            tracemalloc.start()
            try:
                parts = [*islice(snapshot.parts(found, 10_000), 100)]
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert [part.label for part in parts[::99]] == ["[10000]", "[10099]"]
        assert peak < 200_000  # The list takes two million.
