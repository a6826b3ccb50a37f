"""The least that a store could do under ``transaction``: lock, pickle, frame and append.

It has no snapshots and no other readers. What it finds again it finds by reading all of the file,
and makes of it objects that nobody can share.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import pickle
import zlib
from typing import TYPE_CHECKING, Any

import transaction

from benchmarks.peers import make, text_of
from benchmarks.peers.keyed import Thing, state_of, things_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEAD = 12


class _Appender:
    """A data manager that appends states."""

    transaction_manager = transaction.manager

    def __init__(self, path: Path | str, *, sync: bool) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.sync = sync
        self.states: list[Any] = []
        self.records: list[bytes] = []

    def sortKey(self) -> str:  # noqa: N802  the interface's name
        return "floor"

    def tpc_begin(self, _transaction: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def commit(self, _transaction: object) -> None:
        self.records = [pickle.dumps(state, 5) for state in self.states]

    def tpc_vote(self, _transaction: object) -> None:
        parts = []
        for record in self.records:
            head = len(record).to_bytes(8, "little") + zlib.crc32(record).to_bytes(4, "little")
            parts += (head, record)
        os.write(self.fd, b"".join(parts))
        if self.sync:
            os.fdatasync(self.fd)

    def tpc_finish(self, _transaction: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def tpc_abort(self, _transaction: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def abort(self, _transaction: object) -> None:
        pass


class Store:
    """See the package."""

    thing: Thing

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.path = path
        self.appender = _Appender(path, sync=sync)
        self.things: list[Thing] = []

    def one(self, references: int) -> None:
        others = list(range(references))
        state = {"number": 1, "weight": 1 / 7, "text": text_of(1), "others": others}
        self.appender.states = [state]

    def change(self, times: int) -> None:
        appender = self.appender
        (state,) = appender.states
        for number in range(times):
            transaction.begin()
            transaction.get().join(appender)
            state["number"] = number
            transaction.commit()

    def _commit(self, states: list[Any]) -> None:
        transaction.begin()
        transaction.get().join(self.appender)
        self.appender.states = states
        transaction.commit()

    def fill(self, count: int) -> None:
        self._commit(["root"])
        keys = itertools.count(1)
        for things in make(Thing, count):
            for thing in things:
                thing.key = next(keys)
            self._commit([(thing.key, state_of(thing)) for thing in things])
            self.things += things

    def _states(self, size: int = -1) -> Iterator[Any]:
        with open(self.path, "rb") as file:  # noqa: PTH123  as fast as can be
            data = file.read(size)
        at = 0
        while at < len(data):
            end = at + _HEAD + int.from_bytes(data[at : at + 8], "little")
            record = data[at + _HEAD : end]
            assert zlib.crc32(record) == int.from_bytes(data[at + 8 : at + _HEAD], "little")
            yield pickle.loads(record)
            at = end

    def first(self) -> Any:
        return next(self._states(512))

    def everything(self) -> list[Thing]:
        states = self._states()
        next(states)
        self.things = [*things_of(states).values()]
        return self.things

    def read(self) -> int:
        return sum([thing.number for thing in self.everything()])

    def pick(self, index: int) -> None:
        self.thing = (self.things or self.everything())[index]

    def get(self) -> int:
        transaction.begin()
        return self.thing.number

    def close(self) -> None:
        os.close(self.appender.fd)
