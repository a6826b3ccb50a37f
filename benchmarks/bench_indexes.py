"""Indexes: the same questions about 1,000,000 objects to SQLite, and to hypatia, ZODB's catalog.

SQLite gives rows, of one table with the same three indexes; hypatia is measured if it is
installed. All are warm, and nothing is synced but by ZODB, which always does. Run with
``python -m benchmarks.bench_indexes``.
"""

from __future__ import annotations

import importlib.util
import random
import sqlite3
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import transaction

from benchmarks.measure import Bench, Row, in_turn, main, medians
from benchmarks.peers.questions import Questions
from dobbin_like import BTree, Database, Persistent, checkout
from dobbin_like.indexes import between

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNT = 1_000_000
_TIMES = 20
_NAMES = ("owner", "balance", "number")


class Account(Persistent):
    """An object of three attributes."""

    def __init__(self, number: int, owner: str, balance: int) -> None:
        self.number = number
        self.owner = owner
        self.balance = balance


class Ours(Questions):
    """Accounts in a ``BTree``, with three indexes."""

    name = "ours"

    def __init__(self, bench: Bench, rows: list[tuple[int, str, int]]) -> None:
        super().__init__(len(rows))
        self.manager = transaction.TransactionManager()
        self.db = Database(bench.path(), sync=False, transaction_manager=self.manager)
        self.db.set_root(BTree((row[0], Account(*row)) for row in rows))
        self.manager.commit()

    def build(self, name: str) -> None:
        self.db.index(Account, name, unique=name == "number")
        self.manager.begin()  # A search is of a snapshot.

    def by_key(self) -> Any:
        return self.db.find(Account, number=self.number()).first().owner  # type: ignore[union-attr]

    def by_name(self) -> Any:
        return [each.balance for each in self.db.find(Account, owner=self.owner())]

    def by_range(self) -> Any:
        low = self.number()
        found = self.db.find(Account, balance=between(low, low + 99), order_by="balance", limit=20)
        return [each.owner for each in found]

    def by_both(self) -> Any:
        found = self.db.find(
            Account, owner=self.owner(), balance=between(1, self.count // 2), order_by="balance"
        )
        return [each.number for each in found]

    def change(self, name: str = "balance") -> None:
        obj: Any = self.db.find(Account, number=self.number()).first()
        self._set(obj, name)

    def change_item(self, name: str = "balance") -> None:
        """As change(), without a search."""
        self._set(self.db.root[self.number()], name)

    def _set(self, obj: Any, name: str) -> None:
        checkout(obj)
        setattr(obj, name, self.number())
        self.manager.commit()

    def close(self) -> None:
        self.manager.abort()
        self.db.close()


class Sqlite(Questions):
    """A table with three indexes."""

    name = "SQLite"

    def __init__(self, bench: Bench, rows: list[tuple[int, str, int]]) -> None:
        super().__init__(len(rows))
        self._db = sqlite3.connect(bench.path(), isolation_level=None)
        self._ask = self._db.execute
        self._ask("pragma journal_mode=wal")
        self._ask("pragma synchronous=off")
        self._ask("create table account (number integer, owner text, balance integer)")
        self._ask("begin")
        self._db.executemany("insert into account values (?, ?, ?)", rows)
        self._ask("commit")

    def build(self, name: str) -> None:
        unique = "unique" if name == "number" else ""
        self._ask(f"create {unique} index by_{name} on account ({name})")

    def by_key(self) -> Any:
        return self._ask("select * from account where number = ?", (self.number(),)).fetchall()

    def by_name(self) -> Any:
        return self._ask("select * from account where owner = ?", (self.owner(),)).fetchall()

    def by_range(self) -> Any:
        low = self.number()
        text = "select * from account where balance between ? and ? order by balance limit 20"
        return self._ask(text, (low, low + 99)).fetchall()

    def by_both(self) -> Any:
        text = "select * from account where owner = ? and balance between ? and ? order by balance"
        return self._ask(text, (self.owner(), 1, self.count // 2)).fetchall()

    def change(self) -> None:
        values = self.number(), self.number()
        self._ask("update account set balance = ? where number = ?", values)

    def close(self) -> None:
        self._db.close()


def _repeated(step: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(_TIMES):
            step()

    return run


def _time(step: Callable[[], object], rounds: int) -> float:
    """Return the microseconds of a step, the median of some rounds."""
    return medians(in_turn(_repeated(step), rounds=rounds), 1e6 / _TIMES)[0]


_ASKED = {
    "by_key": "one object, by a unique key",
    "by_name": "ten, by a name",
    "by_range": "twenty of a range, in order",
    "by_both": "a name and a range, in order",
    "change": "a commit that changes a key",
}


def _answers(store: Any, rounds: int) -> dict[str, float]:
    start = time.perf_counter()
    for name in _NAMES:
        store.build(name)
    taken = {"built": time.perf_counter() - start}
    return taken | {method: _time(getattr(store, method), rounds) for method in _ASKED}


def questions(bench: Bench) -> None:
    """The three indexes are made; four questions; a commit that moves an object in one of them.

    One store after the other: the objects of a million others would not leave a processor's
    caches to any of them.
    """
    count, rounds = bench.size(_COUNT, quick=_COUNT // 10), bench.rounds(15)
    rng = random.Random(0)
    rows = [(n, f"owner {rng.randrange(count // 10)}", rng.randrange(count)) for n in range(count)]
    store = Ours(bench, rows)
    without = _time(store.change_item, rounds)
    ours = _answers(store, rounds)
    for name, what in (("balance", "one key"), ("note", "no key")):
        taken = _time(partial(store.change_item, name), rounds)
        about = f"a commit that changes {what}, beside one without indexes"
        bench.add(Row(about, "us", taken, without))
    store.close()
    del store
    kinds: list[Any] = [Sqlite]
    if importlib.util.find_spec("hypatia"):
        from benchmarks.peers.catalog import Hypatia

        kinds.append(Hypatia)
    for kind in kinds:
        peer = kind(bench, rows)
        theirs = _answers(peer, rounds)
        bench.add(Row(f"three indexes are made: {peer.name}", "s", ours["built"], theirs["built"]))
        for method, what in _ASKED.items():
            bench.add(Row(f"{what}: {peer.name}", "us", ours[method], theirs[method]))
        peer.close()
        del peer


ALL = (questions,)

if __name__ == "__main__":
    main(*ALL)
