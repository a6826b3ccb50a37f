"""ZODB: a ``FileStorage`` and a connection whose cache holds all that is read."""

from __future__ import annotations

import copy
import os
import sys
from typing import TYPE_CHECKING, BinaryIO

import transaction
from persistent import Persistent
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from benchmarks.peers import ATTEMPTS, BLOCK, PER_TRANSACTION, make, text_of

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


def open_database(path: Path | str, *, sync: bool = False, blob_dir: str | None = None) -> DB:
    """Return a database that syncs its commits, or does without, as where there is no fsync."""
    sys.modules[FileStorage.__module__].fsync = os.fsync if sync else None
    return DB(FileStorage(str(path), blob_dir=blob_dir), cache_size=1_000_000)


class Store:
    """See the package."""

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.path, self.sync = path, sync
        self.database = self.open_database()
        self.root = self.database.open().root()
        self.thing: Pair | Thing

    def open_database(self, blob_dir: str | None = None) -> DB:
        return open_database(self.path, sync=self.sync, blob_dir=blob_dir)

    def one(self, references: int) -> None:
        others = [Thing(number, []) for number in range(references)]
        self.thing = Thing(references, others) if references else Pair(0)
        self.root["thing"] = self.thing
        transaction.commit()

    def change(self, times: int) -> None:
        thing = self.thing
        for number in range(times):
            transaction.begin()
            thing.number = number
            transaction.commit()

    def fill(self, count: int) -> None:
        root = self.root["root"] = Root()
        transaction.commit()
        for things in make(Thing, count):
            transaction.begin()
            root.buckets.append(Bucket(things))
            root._p_changed = True
            transaction.commit()

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
        transaction.begin()
        return self.thing.number

    def put(self, number: int) -> None:
        transaction.begin()
        self.thing.number = number
        transaction.commit()

    def add(self) -> int:
        tried = 0
        for attempt in transaction.attempts(ATTEMPTS):
            tried += 1
            with attempt:
                self.thing.number += 1
        return tried

    def another(self) -> Store:
        other = copy.copy(self)
        other.root = self.database.open().root()  # It is one connection's, and so are its objects.
        return other

    def open_streams(self) -> None:
        self.close()
        self.database = self.open_database(f"{self.path}.blobs")
        self.root = self.database.open().root()

    def store_stream(self, file: BinaryIO) -> None:
        from ZODB.blob import Blob

        self.root["stream"] = blob = Blob()
        with blob.open("w") as target:
            while block := file.read(BLOCK):
                target.write(block)
        transaction.commit()

    def read_stream(self) -> Iterator[bytes]:
        with self.root["stream"].open("r") as file:
            while block := file.read(BLOCK):
                yield block

    def first(self) -> str:
        return self.root["root"].name

    def close(self) -> None:
        transaction.abort()
        self.database.close()
