"""Things in a store of keys and values: references are keys, and who reads makes the objects."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from benchmarks.peers import make, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = 0
"""The key of the root, which has a name and the number of things."""


class Thing:
    """Two numbers, a text and others."""

    key: int

    def __init__(self, number: int, others: list[Thing]) -> None:
        self.number = number
        self.weight = number / 7
        self.text = text_of(number)
        self.others = others


def state_of(thing: Thing) -> tuple[Any, ...]:
    """Return what is stored of a thing."""
    others = [other.key for other in thing.others]
    return thing.number, thing.weight, thing.text, others


def things_of(rows: Iterable[tuple[int, Any]]) -> dict[int, Thing]:
    """Return things by their keys. They refer to those before them."""
    things: dict[int, Thing] = {}
    for key, state in rows:
        thing = things[key] = Thing.__new__(Thing)
        thing.key = key
        thing.number, thing.weight, thing.text, others = state
        thing.others = [things[other] for other in others]
    return things


class KeyStore(abc.ABC):
    """See the package. A store has to do what is abstract; values are tuples, dicts or pickled."""

    key: int
    thing: Thing

    @abc.abstractmethod
    def begin(self) -> None:
        """Begin to write: no other does until ``commit()``."""

    @abc.abstractmethod
    def commit(self) -> None:
        """End the transaction that ``begin()`` has begun."""

    @abc.abstractmethod
    def save(self, key: int, value: Any) -> None:
        """Store a value, in a transaction that has begun."""

    def save_all(self, rows: list[tuple[int, Any]]) -> None:
        for key, value in rows:
            self.save(key, value)

    @abc.abstractmethod
    def load_to_change(self, key: int) -> Any:
        """Return a value, in a transaction that has begun."""

    @abc.abstractmethod
    def load(self, key: int) -> Any:
        """Return the newest value, as a transaction of its own."""

    def in_one(self, function: Callable[[Callable[[int], Any]], Any]) -> Any:
        """Call *function* with what loads a value, in one transaction if there are any."""
        return function(self.load)

    def one(self, references: int) -> None:
        others = []
        for number in range(references):
            others.append(Thing(number, []))
            others[-1].key = number + 1
        self.thing = Thing(references, others)
        self.thing.key = self.key = ROOT
        self.begin()
        self.save_all([(thing.key, state_of(thing)) for thing in (*others, self.thing)])
        self.commit()

    def change(self, times: int) -> None:
        thing = self.thing
        for number in range(times):
            self.begin()
            thing.number = number
            self.save(thing.key, state_of(thing))
            self.commit()

    def fill(self, count: int) -> None:
        made = 0
        for things in make(Thing, count):
            self.begin()
            for thing in things:
                thing.key = thing.number + 1
            self.save_all([(thing.key, state_of(thing)) for thing in things])
            made += len(things)
            self.save(ROOT, {"name": "root", "count": made})
            self.commit()

    def read(self) -> int:
        return sum([thing.number for thing in self.in_one(self._each_by_its_key).values()])

    def _each_by_its_key(self, load: Callable[[int], Any]) -> dict[int, Thing]:
        return things_of((key, load(key)) for key in range(1, load(ROOT)["count"] + 1))

    def everything(self) -> list[Thing]:
        return list(self.in_one(self._by_a_scan).values())

    def _by_a_scan(self, load: Callable[[int], Any]) -> dict[int, Thing]:
        return things_of(self.scan())

    def scan(self) -> Iterable[tuple[int, Any]]:
        """Return all keys but that of the root, in order, and their values."""
        return ((key, self.load(key)) for key in range(1, self.load(ROOT)["count"] + 1))

    def first(self) -> str:
        name: str = self.load(ROOT)["name"]
        return name

    def pick(self, index: int) -> None:
        self.key = index + 1
        self.thing = thing = Thing(0, [])
        thing.key = self.key
        thing.number, thing.weight, thing.text, others = self.load(self.key)
        for key in others:
            other = Thing(0, [])
            other.key = key
            thing.others.append(other)

    def get(self) -> int:
        number: int = self.load(self.key)[0]
        return number

    def put(self, number: int) -> None:
        self.begin()
        _, *rest = self.load_to_change(self.key)
        self.save(self.key, (number, *rest))
        self.commit()

    def add(self) -> int:
        self.begin()
        number, *rest = self.load_to_change(self.key)
        self.save(self.key, (number + 1, *rest))
        self.commit()
        return 1
