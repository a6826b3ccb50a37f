"""Hypatia, the catalog of ZODB: documents by their ids, and an index for each attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transaction
from BTrees.IOBTree import IOBTree
from hypatia.catalog import Catalog
from hypatia.field import FieldIndex
from persistent import Persistent
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from benchmarks.peers.questions import Questions

if TYPE_CHECKING:
    from benchmarks.measure import Bench


class Account(Persistent):
    """An object of three attributes."""

    def __init__(self, number: int, owner: str, balance: int) -> None:
        self.number = number
        self.owner = owner
        self.balance = balance


class Hypatia(Questions):
    """Accounts in an ``IOBTree``, whose keys are the ids of documents in a catalog."""

    name = "hypatia"

    def __init__(self, bench: Bench, rows: list[tuple[int, str, int]]) -> None:
        super().__init__(len(rows))
        self._manager = transaction.TransactionManager()
        self._db = DB(FileStorage(str(bench.path())), cache_size=10 * len(rows))
        root = self._db.open(self._manager).root()
        made = [(row[0], Account(*row)) for row in rows]
        root["accounts"] = self._accounts = IOBTree(made)
        root["catalog"] = self._catalog = Catalog()
        self._manager.commit()

    def build(self, name: str) -> None:
        self._catalog[name] = index = FieldIndex(name)
        for number, obj in self._accounts.items():
            index.index_doc(number, obj)
        self._manager.commit()

    def _objects(self, query: Any, order_by: str = "", limit: int | None = None) -> list[Any]:
        found = query.execute()
        if order_by:
            found = found.sort(self._catalog[order_by], limit=limit)
        return [self._accounts[number].owner for number in found.ids]

    def by_key(self) -> Any:
        return self._objects(self._catalog["number"].eq(self.number()))

    def by_name(self) -> Any:
        return self._objects(self._catalog["owner"].eq(self.owner()))

    def by_range(self) -> Any:
        low = self.number()
        query = self._catalog["balance"].inrange(low, low + 99)
        return self._objects(query, "balance", 20)

    def by_both(self) -> Any:
        query = self._catalog["owner"].eq(self.owner())
        query &= self._catalog["balance"].inrange(1, self.count // 2)
        return self._objects(query, "balance")

    def change(self) -> None:
        obj = self._accounts[number := self.number()]
        obj.balance = self.number()
        self._catalog.reindex_doc(number, obj)
        self._manager.commit()

    def close(self) -> None:
        self._manager.abort()
        self._db.close()
