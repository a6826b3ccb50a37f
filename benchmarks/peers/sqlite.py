"""SQLite: pickles in a table, by oid, in write-ahead mode. References are oids."""

from __future__ import annotations

import pickle
import sqlite3
from typing import TYPE_CHECKING, Any

from benchmarks.peers import make, text_of

if TYPE_CHECKING:
    from pathlib import Path

_ROOT = 0


class Thing:
    """Two numbers, a text and others."""

    oid: int

    def __init__(self, number: int, others: list[Thing]) -> None:
        self.number = number
        self.weight = number / 7
        self.text = text_of(number)
        self.others = others


def pickled(thing: Thing) -> bytes:
    """Return the state of a thing."""
    oids = [other.oid for other in thing.others]
    return pickle.dumps((thing.number, thing.weight, thing.text, oids), 5)


def with_number(state: bytes, number: int) -> bytes:
    """Return the state of a thing with another number."""
    _, *rest = pickle.loads(state)
    return pickle.dumps((number, *rest), 5)


class Store:
    """See the package."""

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.execute = self.connection.execute
        self.execute("pragma journal_mode = wal")
        self.execute(f"pragma synchronous = {'full' if sync else 'off'}")
        self.execute("create table if not exists object (oid integer primary key, state blob)")
        self.thing: Thing

    def one(self, references: int) -> None:
        others = []
        for number in range(references):
            others.append(Thing(number, []))
            others[-1].oid = number + 1
        self.thing = Thing(references, others)
        self.thing.oid = _ROOT
        self._insert([*others, self.thing])

    def _insert(self, things: list[Thing]) -> None:
        rows = [(thing.oid, pickled(thing)) for thing in things]
        self.connection.executemany("insert into object values (?, ?)", rows)

    def change(self, times: int) -> None:
        thing, execute = self.thing, self.execute
        for number in range(times):
            execute("begin immediate")
            thing.number = number
            execute("update object set state = ? where oid = ?", (pickled(thing), thing.oid))
            execute("commit")

    def fill(self, count: int) -> None:
        oids: list[int] = []
        self.execute("insert into object values (?, ?)", (_ROOT, b""))
        for things in make(Thing, count):
            self.execute("begin immediate")
            for thing in things:
                thing.oid = thing.number + 1
                oids.append(thing.oid)
            self._insert(things)
            root = pickle.dumps({"name": "root", "oids": oids}, 5)
            self.execute("update object set state = ? where oid = ?", (root, _ROOT))
            self.execute("commit")

    def _load(self, oid: int) -> Any:
        [(state,)] = self.execute("select state from object where oid = ?", (oid,))
        return pickle.loads(state)

    def read(self) -> int:
        total = 0
        things: dict[int, Thing] = {}
        for oid in self._load(_ROOT)["oids"]:
            thing = things[oid] = Thing.__new__(Thing)
            thing.number, thing.weight, thing.text, others = self._load(oid)
            thing.others = [things[other] for other in others]
            total += thing.number
        return total

    def first(self) -> str:
        return self._load(_ROOT)["name"]

    def close(self) -> None:
        self.connection.close()
