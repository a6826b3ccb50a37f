"""This package: a ``Database`` on a log."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, BinaryIO

import transaction

from benchmarks.peers import BLOCK, PER_TRANSACTION, make, text_of
from dobbin_like.database import Database
from dobbin_like.persistent import Persistent, PersistentFile, checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Pair(Persistent):
    """Two numbers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.weight = number / 7


class Thing(Persistent):
    """Two numbers, a text and others."""

    def __init__(self, number: int, others: list[Thing]) -> None:
        self.number = number
        self.weight = number / 7
        self.text = text_of(number)
        self.others = others


class Root(Persistent):
    """All things, in lists of a thousand."""

    def __init__(self) -> None:
        self.name = "root"
        self.buckets: list[Bucket] = []


class Bucket(Persistent):
    """A list of things."""

    def __init__(self, things: list[Thing]) -> None:
        self.things = things


class Store:
    """See the package."""

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.database = Database(TransactionLog(path, sync=sync))
        self.thing: Pair | Thing

    def one(self, references: int) -> None:
        others = [Thing(number, []) for number in range(references)]
        self.thing = Thing(references, others) if references else Pair(0)
        self.database.set_root(self.thing)
        transaction.commit()

    def change(self, times: int) -> None:
        thing = self.thing
        for number in range(times):
            transaction.begin()
            checkout(thing)
            thing.number = number
            transaction.commit()

    def fill(self, count: int) -> None:
        root = Root()
        self.database.set_root(root)
        transaction.commit()
        for things in make(Thing, count):
            transaction.begin()
            checkout(root)
            root.buckets.append(Bucket(things))
            transaction.commit()

    def everything(self) -> list[Thing]:
        things = [thing for bucket in self.database.root.buckets for thing in bucket.things]
        for thing in things:
            _ = thing.number  # Until then, it need not be in memory.
        return things

    def read(self) -> int:
        total = 0
        for bucket in self.database.root.buckets:
            for thing in bucket.things:
                total += thing.number
        return total

    def pick(self, index: int) -> None:
        bucket = self.database.root.buckets[index // PER_TRANSACTION]
        self.thing = bucket.things[index % PER_TRANSACTION]

    def get(self) -> int:
        transaction.begin()
        return self.thing.number

    def put(self, number: int) -> None:
        transaction.begin()
        checkout(self.thing)
        self.thing.number = number
        transaction.commit()

    def add(self) -> int:
        tried = 0

        def increment() -> None:
            nonlocal tried
            tried += 1
            checkout(self.thing)
            self.thing.number += 1

        self.database.run(increment)
        return tried

    def another(self) -> Store:
        return copy.copy(self)  # Threads share the objects.

    def open_streams(self) -> None:
        pass

    def store_stream(self, file: BinaryIO) -> None:
        self.database.set_root(PersistentFile(file))
        transaction.commit()

    def read_stream(self) -> Iterator[bytes]:
        stream = self.database.root
        stream.open()
        while block := stream.read(BLOCK):
            yield block

    def first(self) -> str:
        return self.database.root.name

    def close(self) -> None:
        self.database.close()
