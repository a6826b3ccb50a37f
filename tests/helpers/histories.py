"""A history with one of everything, and whether a copy has it."""

from __future__ import annotations

import io
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest
import transaction

from dobbin_like import BTree, Database, MemoryLog, PersistentDict, PersistentFile, checkout
from dobbin_like.check import check_log
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.copy import Transfer

if TYPE_CHECKING:
    from typing import Any

    from dobbin_like.storage import Storage


def written(storage: Any) -> Any:
    """Write a history of everything there is; return the storage, opened again."""
    with Database(storage, transaction_manager=transaction.TransactionManager()) as database:
        with database.transaction() as root:
            tree = BTree({number: "x" * number for number in range(300)})
            database.set_root(PersistentDict(tree=tree, file=PersistentFile(io.BytesIO(b"one"))))
        for number in range(3):
            with database.transaction(note=f"the {number}") as root:
                checkout(root["tree"])
                root["tree"][number] = PersistentDict(number=number)
        with database.transaction() as root:
            checkout(root)
            root["more"] = PersistentFile(io.BytesIO(b"two" * 1_000_000))
        with pytest.raises(ZeroDivisionError), database.transaction() as root:
            checkout(root)["never"] = 1 / 0
        again = database.storage
        return again.another() if isinstance(again, MemoryLog) else TransactionLog(again.path)


def check_copy(source: Storage, target: Storage) -> None:
    """Raise AssertionError if *target* does not have the history that written() has made."""
    with Database(target, transaction_manager=transaction.TransactionManager()) as database:
        root = database.root
        assert b"".join(root["file"]) == b"one"
        assert b"".join(root["more"]) == b"two" * 1_000_000
        assert root["tree"][1]["number"] == 1
        told = [logged.description for logged in target.transactions()]
        assert told == [logged.description for logged in source.transactions()]
        assert check_log(target).ok


def check_same(source: Storage, target: Storage) -> None:
    """Raise AssertionError if both do not have the same transactions, to the last byte."""
    transfer = Transfer(source, target)
    for pair in zip_longest(source.transactions(), target.transactions()):
        assert transfer.difference(*pair) == ""
