"""The least that a store could do under ``transaction``: lock, pickle, frame and append.

It has no oids, no snapshots, no other readers, and forgets where it has put things.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import zlib
from typing import TYPE_CHECKING, Any

import transaction

from benchmarks.peers import text_of

if TYPE_CHECKING:
    from pathlib import Path


class _Appender:
    """A data manager that appends one state."""

    transaction_manager = transaction.manager

    def __init__(self, path: Path | str, *, sync: bool) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.sync = sync
        self.state: dict[str, Any] = {}
        self.record = b""

    def sortKey(self) -> str:  # noqa: N802  the interface's name
        return "floor"

    def tpc_begin(self, _transaction: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def commit(self, _transaction: object) -> None:
        self.record = pickle.dumps(self.state, 5)

    def tpc_vote(self, _transaction: object) -> None:
        record = self.record
        head = len(record).to_bytes(8, "little") + zlib.crc32(record).to_bytes(4, "little")
        os.write(self.fd, head + record)
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

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.appender = _Appender(path, sync=sync)

    def one(self, references: int) -> None:
        others = list(range(references))
        state = {"number": 1, "weight": 1 / 7, "text": text_of(1), "others": others}
        self.appender.state = state

    def change(self, times: int) -> None:
        appender = self.appender
        for number in range(times):
            transaction.begin()
            transaction.get().join(appender)
            appender.state["number"] = number
            transaction.commit()

    def close(self) -> None:
        os.close(self.appender.fd)
