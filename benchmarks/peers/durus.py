"""Durus: a ``FileStorage2`` and a connection; it has one thread, and no other processes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from durus.connection import Connection
from durus.error import ConflictError, ReadConflictError
from durus.file import File
from durus.file_storage2 import FileStorage2
from durus.persistent import PersistentObject

from benchmarks.peers import ATTEMPTS, PER_TRANSACTION, make, text_of

if TYPE_CHECKING:
    from pathlib import Path

logging.getLogger("durus").setLevel(logging.WARNING)


class Pair(PersistentObject):
    """Two numbers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.weight = number / 7


class Thing(PersistentObject):
    """Two numbers, a text and others."""

    def __init__(self, number: int, others: list[Thing]) -> None:
        self.number = number
        self.weight = number / 7
        self.text = text_of(number)
        self.others = others


class Root(PersistentObject):
    """All things, in lists of a thousand."""

    def __init__(self) -> None:
        self.name = "root"
        self.buckets: list[Bucket] = []


class Bucket(PersistentObject):
    """A list of things."""

    def __init__(self, things: list[Thing]) -> None:
        self.things = things


class UnsyncedFile(File):
    """Durus can't be told to do without."""

    def fsync(self) -> None:
        pass


def open_connection(path: Path | str, *, sync: bool = False) -> Connection:
    """Return a connection whose cache holds all that is read."""
    file = File(str(path)) if sync else UnsyncedFile(str(path))
    return Connection(FileStorage2(file), cache_size=1_000_000)


class Store:
    """See the package. There is no ``begin()``: a transaction begins where the last one ends."""

    def connect(self, path: Path | str, *, sync: bool) -> Connection:
        return open_connection(path, sync=sync)

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.connection = self.connect(path, sync=sync)
        self.root = self.connection.get_root()
        self.thing: Pair | Thing

    def one(self, references: int) -> None:
        others = [Thing(number, []) for number in range(references)]
        self.thing = Thing(references, others) if references else Pair(0)
        self.root["thing"] = self.thing
        self.connection.commit()

    def change(self, times: int) -> None:
        thing, connection = self.thing, self.connection
        for number in range(times):
            thing.number = number
            connection.commit()

    def fill(self, count: int) -> None:
        root = self.root["root"] = Root()
        self.connection.commit()
        for things in make(Thing, count):
            root.buckets.append(Bucket(things))
            root._p_note_change()
            self.connection.commit()

    def everything(self) -> list[Thing]:
        things = [thing for bucket in self.root["root"].buckets for thing in bucket.things]
        for thing in things:
            _ = thing.number  # Until then, it need not be in memory.
        return things

    def read(self) -> int:
        total = 0
        for bucket in self.root["root"].buckets:
            for thing in bucket.things:
                total += thing.number
        return total

    def pick(self, index: int) -> None:
        bucket = self.root["root"].buckets[index // PER_TRANSACTION]
        self.thing = bucket.things[index % PER_TRANSACTION]

    def get(self) -> int:
        while True:
            self.connection.abort()  # It sees what others have committed from now on.
            try:
                return self.thing.number
            except ReadConflictError:  # More was committed meanwhile.
                continue

    def put(self, number: int) -> None:
        self.thing.number = number
        self.connection.commit()

    def add(self) -> int:
        for tried in range(1, ATTEMPTS):
            try:
                self.thing.number += 1
                self.connection.commit()
            except ConflictError:
                self.connection.abort()
            else:
                return tried
        raise TimeoutError(ATTEMPTS)

    def first(self) -> str:
        return self.root["root"].name

    def close(self) -> None:
        self.connection.get_storage().close()
