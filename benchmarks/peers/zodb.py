"""ZODB: a ``FileStorage`` and a connection whose cache holds all that is read."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import transaction
from persistent import Persistent
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from benchmarks.peers import make, text_of

if TYPE_CHECKING:
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
        self.database = open_database(path, sync=sync)
        self.root = self.database.open().root()
        self.thing: Pair | Thing

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

    def read(self) -> int:
        total = 0
        for bucket in self.root["root"].buckets:
            for thing in bucket.things:
                total += thing.number
        return total

    def first(self) -> str:
        return self.root["root"].name

    def close(self) -> None:
        transaction.abort()
        self.database.close()
