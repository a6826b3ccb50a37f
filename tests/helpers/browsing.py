"""A shop to be looked at, whose names and values have markup; its classes are known to nobody."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import transaction

from dobbin_like.collections import BTree, BTreeSet
from dobbin_like.database import Database
from dobbin_like.persistent import Persistent, PersistentDict, PersistentList, checkout
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARKUP = "<script>alert(1)</script>"
QUOTED = '"><img src=x onerror=alert(2)>'

CLASSES = """
from dataclasses import dataclass
from dobbin_like import Persistent

@dataclass
class Money:
    amount: int

class Shop(Persistent):
    def __init__(self, **state):
        vars(self).update(state)

class Cart(Persistent):
    def __init__(self, owner):
        self.owner = owner
        self.lines = []
"""


def commit(user: str, note: str) -> None:
    transaction.get().user = user
    transaction.get().note(note)
    transaction.commit()


def make_shop(path: Path, more: Callable[[Any, Database], None] | None = None) -> None:
    """Write a shop to a new log: a root, prices, a tree of 300 carts, a circle, and markup."""
    module: Any = types.ModuleType("shop")
    sys.modules["shop"] = module
    try:
        exec(CLASSES, vars(module))
        odd = type(f"Odd{MARKUP}", (Persistent,), {"__module__": "shop"})
        setattr(module, odd.__name__, odd)
        with Database(TransactionLog(path, sync=False), allow=["shop.*"]) as database:
            _fill(database, module, odd)
            if more is not None:
                more(module, database)
    finally:
        del sys.modules["shop"]


def _fill(database: Database, module: Any, odd: type) -> None:
    shop = module.Shop(
        name=MARKUP,
        prices=PersistentDict({"tea": module.Money(3), QUOTED: 1, "jam": 7}),
        carts=BTree(),
        tags=BTreeSet([f"tag {MARKUP}"]),
        notes="needle in a text\n" + "of many lines\n" * 40,
        odd=odd(),
    )
    database.set_root(shop)
    commit("ann", f"opened {MARKUP}")
    checkout(shop.prices)
    shop.prices["tea"] = module.Money(4)
    del shop.prices["jam"]
    commit(f"bob{QUOTED}", "dearer")
    checkout(shop.carts)
    for number in range(300):
        shop.carts[f"c{number:03}"] = module.Cart(f"owner {number}")
    commit("cid", "carts")
    checkout(shop)
    shop.friend = PersistentList([shop])
    commit("dan", "a circle")
