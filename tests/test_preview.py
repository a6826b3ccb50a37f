"""States to be looked at: what is large is cut, and all else is as it was."""

from __future__ import annotations

import io
import pickle
from array import array
from collections import UserString, deque
from typing import Any

import pytest

from dobbin_like.database import Database, store_of
from dobbin_like.objects.codec.shown.preview import LARGE, Cut, without_large
from dobbin_like.persistent import PersistentDict
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.storage import MemoryLog
from tests.helpers.things import Thing


class Reader(pickle.Unpickler):
    def __init__(self, state: Any, protocol: int = 4) -> None:
        small, self.cuts = without_large(pickle.dumps(state, protocol))
        self.size = len(small)
        super().__init__(io.BytesIO(small))

    def persistent_load(self, pid: str) -> Cut:
        return self.cuts[int(pid.removeprefix("cut "))]


def cut(value: Any) -> Cut:
    (found,) = Reader([value], 5).load()
    assert type(found) is Cut
    return found


SMALL = ["x" * (LARGE - 1), b"x" * 70_000, 1, 300, 70_000, -5, 2**70, 2.5, True, None, "", (), {}]


@pytest.mark.parametrize("protocol", [4, 5])
def test_only_what_is_large_is_cut(protocol: int) -> None:
    large = "x" * LARGE
    state = []
    for small in SMALL:
        state += [large, small]
    reader = Reader((*state, {large: [large]}), protocol)

    *found, last = reader.load()

    assert found[1::2] == SMALL
    assert {*found[::2], *last, *last[large_key(last)]} == {found[0]}
    assert len(reader.cuts) == 1
    assert reader.size < 2 * LARGE


def large_key(found: dict[Any, Any]) -> Any:
    return next(iter(found))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("\u20ac\U0001f600a\ud800" * LARGE, "str"),
        (b"\xff\x00" * LARGE, "bytes"),
        (bytearray(LARGE), "bytearray"),
    ],
)
def test_a_cut_has_the_beginning_and_the_size(value: Any, kind: str) -> None:
    found = cut(value)

    assert (found.kind, found.size) == (kind, len(value))
    assert found.head == value[: len(found.head)]
    assert len(found.head) == 20_000


def test_cuts_are_equal_if_their_contents_are() -> None:
    text = "x" * LARGE

    assert cut(text) == cut(text)
    assert hash(cut(text)) == hash(cut(text))
    assert cut(text + "a") != cut(text + "b")
    assert cut(text) != cut(text.encode())
    assert cut(text) != text


@pytest.mark.parametrize("before", [0, 1, LARGE // 3 - 1, LARGE // 3, LARGE - 3, LARGE - 1, LARGE])
def test_a_text_is_found_wherever_it_is(before: int) -> None:
    for filler in ("a", "\u20ac", "\xdf"):
        found = cut(filler * before + "Stra\xdfe\U0001f600" + filler * LARGE)

        assert found.has("strasse\U0001f600")
        assert not found.has("strase")


def test_what_is_no_state_is_left_as_it_is() -> None:
    for data in (b"", b"." * 2 * LARGE, b"\x95" + bytes(2 * LARGE), b"\xff" * 2 * LARGE):
        assert without_large(data) == (data, [])
    broken = b"\x80\x04X" + (3 * LARGE).to_bytes(4, "little") + bytes(2 * LARGE)
    assert without_large(broken) == (broken, [])


@pytest.mark.parametrize("end", [b"\x8c", b"K", b"X\x00", b"\x95\x00"])
def test_a_state_that_ends_early_is_left_as_it_is(end: bytes) -> None:
    data = b"N" * 2 * LARGE + end

    assert without_large(data) == (data, [])


@pytest.mark.parametrize("made", [array("B", bytes(LARGE)), UserString("x" * LARGE)], ids=type)
def test_what_is_made_of_something_large_is_whole(made: Any) -> None:
    text = "x" * LARGE
    with Database(MemoryLog()) as database:
        with database.transaction():
            database.set_root(PersistentDict(made=made, text=text))
        with SnapshotScan(store_of(database)) as scan:
            stored = scan.load(0)
            assert stored is not None
            state = scan.preview(0, stored)
            assert state == scan.state(0, stored)


def test_values_that_hold_something_large_have_a_cut_in_its_place() -> None:
    text = "x" * LARGE
    with Database(MemoryLog(), allow=["tests.*"]) as database:
        with database.transaction():
            database.set_root(Thing(d=deque([text, 1]), o=Thing(), t=text))
        with SnapshotScan(store_of(database)) as scan:
            stored = scan.load(0)
            assert stored is not None
            state = scan.preview(0, stored)
            whole = scan.state(0, stored)
    assert state["t"] == state["d"][0] == cut(text)
    assert state["d"][1] == 1
    assert state["o"] == whole["o"]
