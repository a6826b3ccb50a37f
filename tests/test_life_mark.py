"""References are found in states without loading a class, and followed wherever they lead."""

from __future__ import annotations

import array
import datetime
import decimal
import enum
import fractions
import pathlib
import random
import re
import tracemalloc
import uuid
import zoneinfo
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like import Persistent
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.policy import Policy
from dobbin_like.objects.codec.references import Marks, references
from dobbin_like.objects.codec.serialize import Encoder


class Thing(Persistent):
    """What is referred to."""


class Colour(enum.Enum):
    RED = "Q"
    BLUE = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Price:
    amount: Any
    of: Any


@dataclass
class Note:
    about: Any


class Queue(list):
    """A list with attributes and a class of its own."""


def function_of_a_module() -> None: ...


class Names:
    """A class table in memory, whose numbers are as long as one likes."""

    forgotten = 0

    def __init__(self, first: int) -> None:
        self.names: dict[int, tuple[str, str]] = {}
        self.next_number = first

    def class_name(self, number: int) -> tuple[str, str]:
        return self.names[number]

    def class_number(self, module: str, qualname: str) -> int | None:
        return next((n for n, name in self.names.items() if name == (module, qualname)), None)


class Recorder:
    """Gives out the oids that it is told to, and keeps them in order."""

    def __init__(self, oids: list[int], class_number: int) -> None:
        self.oids = oids
        self.class_number = class_number
        self.given: list[tuple[int, int]] = []

    def reference(self, _obj: Any) -> tuple[int, int]:
        oid = self.oids[len(self.given) % len(self.oids)]
        self.given.append((oid, self.class_number))
        return self.given[-1]


def encoded(
    state: dict[str, Any], oids: list[int], class_number: int = 1
) -> tuple[bytes, list[tuple[int, int]]]:
    """Return the state as a log has it, and what it refers to, in its order."""
    recorder = Recorder(oids, class_number)
    classes = ClassTable(Policy((f"{__name__}.*",)), Names(class_number))
    return Encoder(recorder, classes).encode(state), recorder.given


things = st.builds(Thing)
atoms = st.one_of(
    things,
    things,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(alphabet="Q\x94\x86K"),
    st.binary(),
    st.lists(st.sampled_from([b"Q", b"\x94", b"\x86", b"K\x05", b"M\x05\x01"])).map(b"".join),
    st.datetimes(timezones=st.sampled_from([None, datetime.UTC, zoneinfo.ZoneInfo("UTC")])),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.sampled_from([*Colour, *Rights, Rights.READ | Rights.WRITE]),
    st.sampled_from([Thing, Colour, dict, datetime.date, function_of_a_module, ...]),
    st.sampled_from([decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=81)]),
    st.sampled_from([re.compile("Q+"), pathlib.PurePosixPath("Q"), range(81), 1j]),
    st.lists(st.integers(0, 255)).map(lambda numbers: array.array("B", numbers)),
    st.binary().map(bytearray),
)
hashable = st.one_of(
    things, st.integers(), st.text(), st.binary(), st.sampled_from([*Colour, Thing])
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.lists(inner).map(Queue),
        st.dictionaries(hashable, inner),
        st.sets(hashable),
        st.frozensets(hashable),
        st.builds(Price, inner, inner),
        st.builds(Note, inner),
    ),
    max_leaves=30,
)
states = st.dictionaries(st.text(min_size=1), values)
oids = st.one_of(
    st.integers(0, (1 << 40) - 1),
    st.sampled_from([0, 77, 81, 255, 256, 0x5151, 65535, 65536, (1 << 31) - 1, 1 << 31]),
)


@given(state=states, oids=st.lists(oids, min_size=1), class_number=st.integers(1, 1 << 20))
def test_every_reference_is_found_once_and_in_order(
    state: dict[str, Any], oids: list[int], class_number: int
) -> None:
    data, given = encoded(state, oids, class_number)

    assert references(data) == given


def test_references_in_a_state_longer_than_a_frame_are_found() -> None:
    thing = Thing()
    state = {"a": thing, "b": "Q" * 200_000, "c": [thing] * 30_000, "d": b"Q" * 70_000}

    data, given = encoded(state, list(range(50_000)))

    assert len(given) == 30_001
    assert references(data) == given


def test_no_class_is_loaded_for_it() -> None:
    data, given = encoded({"note": Note([Thing()]), "price": Price(Colour.RED, Thing())}, [5, 6])
    made = Note.__init__
    try:
        del Note.__init__  # whoever makes one now fails

        assert references(data) == given == [(5, 1), (6, 1)]
    finally:
        Note.__init__ = made


def test_bytes_that_are_no_state_are_an_error() -> None:
    data, _ = encoded({"a": Thing(), "b": "Q" * 50}, [3])

    with pytest.raises(Exception, match=r"truncated|exhausted|ran out|EOF"):
        references(data[:-2])


class World:
    """States by oid, each leading to others."""

    def __init__(self, edges: dict[int, list[int]]) -> None:
        self.edges = edges
        self.read: list[int] = []

    def load(self, oid: int) -> bytes | None:
        self.read.append(oid)
        targets = self.edges.get(oid)
        if targets is None:
            return None
        return encoded({"to": [Thing() for _ in targets]}, targets or [0])[0]

    def reachable(self, roots: list[int], count: int) -> set[int]:
        found = {oid for oid in roots if oid < count}
        left = list(found)
        while left:
            new = {oid for oid in self.edges.get(left.pop(), []) if oid < count} - found
            found |= new
            left += new
        return found


@given(
    edges=st.dictionaries(st.integers(0, 40), st.lists(st.integers(0, 60), max_size=8)),
    roots=st.lists(st.integers(0, 60), max_size=3),
    later=st.lists(st.integers(0, 60), max_size=3),
    batch=st.integers(1, 5),
)
def test_what_can_be_reached_is_marked_and_read_once(
    edges: dict[int, list[int]], roots: list[int], later: list[int], batch: int
) -> None:
    world = World(edges)
    with pytest.MonkeyPatch.context() as patch:
        # So that even a small graph has more than fits a batch.
        patch.setattr("dobbin_like.objects.codec.references._BATCH", batch)
        marks = Marks(50, world.load)
        marks.follow(roots)
        first = {oid for oid in range(60) if oid in marks}
        marks.follow(later)

    assert first == world.reachable(roots, 50)
    assert {oid for oid in range(60) if oid in marks} == world.reachable(roots + later, 50)
    assert len(world.read) == len(set(world.read))


def test_a_batch_is_read_in_the_given_order() -> None:
    order = list(range(100))
    random.Random(1).shuffle(order)
    world = World({0: list(range(1, 100))})

    Marks(100, world.load, order=order.__getitem__).follow([0])

    assert world.read == [0, *sorted(range(1, 100), key=order.__getitem__)]


def test_ticks_tell_all_objects_and_bytes() -> None:
    world = World({0: list(range(1, 1000)), 7: [0]})
    told = [0, 0]

    def tick(objects: int, size: int) -> None:
        told[0] += objects
        told[1] += size

    Marks(1000, world.load, tick=tick).follow([0])

    assert told == [1000, len(world.load(0) or b"") + len(world.load(7) or b"")]


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["chain", "backwards", "fan", "shuffled"])
def test_memory_is_a_byte_for_an_object_and_a_constant(shape: str) -> None:
    count = 40_000
    following = [*range(1, count), 0]
    if shape == "backwards":
        following = [max(oid - 1, 0) for oid in range(count)]
    if shape == "shuffled":
        random.Random(1).shuffle(following)
    start = count - 1 if shape == "backwards" else 0

    def load(oid: int) -> bytes:
        # As Encoder writes it; made by hand, for speed.
        if shape == "fan":
            targets = range(oid * 600 + 1, min(oid * 600 + 601, count))
        else:
            targets = range(following[oid], following[oid] + 1)
        ids = [b"J%bK\1\x86\x94Q" % target.to_bytes(4, "little") for target in targets]
        return b"\x80\5](%be." % b"".join(ids)

    assert references(load(5))[0] in [(6, 1), (4, 1), (following[5], 1), (3001, 1)]
    tracemalloc.start()
    try:
        marks = Marks(count, load)
        marks.follow([start])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    if shape != "shuffled":
        assert marks.flags.count(0) == 0
    # 37 bytes for each would be too much.
    assert peak < count + (3 << 19)
