"""Values of dataclasses that are frozen and have slots: they are stored by the names of fields."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import transaction

from dobbin_like import Database, PersistentDict, checkout
from dobbin_like.check import check_database
from dobbin_like.database import store_of
from dobbin_like.exchange.json_lines import export_json_file, import_json
from dobbin_like.exchange.source import Source
from dobbin_like.objects.codec import serialize
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.storage import TransactionLog

HEAD = "from dataclasses import dataclass, field\nfrom typing import Generic, TypeVar\n"
FIRST = """
@dataclass(frozen=True, slots=True)
class Price:
    amount: int
    currency: str = "EUR"
    notes: list = field(default_factory=list)
"""


@pytest.fixture
def shop(monkeypatch):
    """Define what a source does in the module shop_of_prices."""
    module = ModuleType("shop_of_prices")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def define(source):
        exec(HEAD + source, vars(module))
        return module

    return define


@pytest.fixture
def opened(path):
    def opened(path=path):
        return Database(TransactionLog(path, sync=False), allow=["shop_of_prices.Price"])

    return opened


def store(opened, **values):
    with opened() as database:
        database.set_root(PersistentDict(values))
        transaction.commit()


def shown(opened):
    with opened() as database:
        check_database(database).raise_if_bad()
        return {name: repr(value) for name, value in database.root.items()}


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (
            """
@dataclass(frozen=True, slots=True)
class Price:
    currency: str
    amount: int
    rate: float = 1.5
    parts: dict = field(default_factory=dict)
""",
            "Price(currency='USD', amount=5, rate=1.5, parts={})",
        ),
        (
            """
@dataclass(frozen=True)
class Price:
    currency: str
    amount: int
    rate: float = 1.5
""",
            "Price(currency='USD', amount=5, rate=1.5)",
        ),
        (
            """
T = TypeVar("T")
@dataclass(frozen=True, slots=True, weakref_slot=True)
class Price(Generic[T]):
    notes: list
    amount: T
""",
            "Price(notes=['a'], amount=5)",
        ),
        (
            """
class Base:
    __slots__ = ()
@dataclass(frozen=True, slots=True)
class Price(Base):
    notes: list
    amount: int
""",
            "Price(notes=['a'], amount=5)",
        ),
    ],
)
def test_a_field_that_was_moved_has_what_was_stored_of_it(shop, opened, later, expected):
    # It had what was stored of the field that was in its place.
    store(opened, price=shop(FIRST).Price(5, "USD", ["a"]))

    module = shop(later)

    assert shown(opened) == {"price": expected}
    with opened() as database:
        price = database.root["price"]
        assert type(price) is module.Price
        checkout(database.root)
        database.root["again"] = price
        transaction.commit()
    assert shown(opened) == {"price": expected, "again": expected}


def test_what_is_stored_is_at_once_what_is_read_later(shop, opened):
    module = shop(FIRST)
    price = module.Price(1, "X", [])
    price.notes.append(price)
    values = {
        "price": price,
        "same": [price, price],
        "cls": module.Price,
        "key": {price.amount: 2},
    }
    with opened() as database:
        database.set_root(PersistentDict(values))
        transaction.commit()
        at_once = database.root["price"]
        assert (type(at_once), at_once.amount, at_once.currency) == (module.Price, 1, "X")
        assert at_once.notes[0] is at_once
    with opened() as database:
        root = database.root
        assert root["price"].notes[0] is root["price"]
        assert root["same"][0] is root["same"][1]
        assert root["cls"] is module.Price
        assert type(root["price"]) is module.Price
    assert module.Price.__subclasses__() == []


def test_a_value_can_be_a_key(shop, opened):
    module = shop(FIRST.replace("    notes: list = field(default_factory=list)\n", ""))
    store(opened, prices={module.Price(1): "one", module.Price(2, "X"): {module.Price(3)}})
    with opened() as database:
        prices = database.root["prices"]
        assert prices[module.Price(1)] == "one"
        assert module.Price(3) in prices[module.Price(2, "X")]


def test_what_was_stored_by_order_is_read_by_order(shop, opened, monkeypatch):
    price = shop(FIRST).Price(5, "USD")
    with monkeypatch.context() as patch:
        patch.setattr(serialize, "IS_BY_ORDER", {type(price): False, PersistentDict: False})
        store(opened, price=price)

    assert shown(opened) == {"price": "Price(amount=5, currency='USD', notes=[])"}
    shop(FIRST + "    rate: float = 1.5\n")
    assert shown(opened) == {"price": "Price(amount=5, currency='USD', notes=[], rate=1.5)"}


def test_a_class_with_its_own_methods_keeps_to_them(shop, opened):
    own = """
    def __getstate__(self):
        return self.amount
    def __setstate__(self, state):
        object.__setattr__(self, "amount", state * 2)
"""
    store(opened, price=shop(FIRST + own).Price(5))
    with opened() as database:
        assert database.root["price"].amount == 10


def test_a_value_that_can_not_be_rebuilt_is_stored_back_as_it_was(shop, opened):
    store(opened, price=shop(FIRST).Price(5, "USD", ["a"]), count=1)
    shop("def Price(): pass")
    with opened() as database:
        checkout(database.root)
        database.root["count"] = 2
        transaction.commit()
    shop(FIRST)
    assert shown(opened)["price"] == "Price(amount=5, currency='USD', notes=['a'])"


def test_an_export_has_the_names(shop, opened, path, tmp_path):
    store(opened, price=shop(FIRST).Price(5, "USD", ["a"]))
    lines, new = tmp_path / "lines.json", tmp_path / "new.log"
    with opened() as database, SnapshotScan(store_of(database)) as scan:
        export_json_file(Source(scan), str(lines))
    assert '"currency"' in lines.read_text("utf-8")
    with lines.open("rb") as file:
        import_json("lines", file, str(new))
    with opened(new) as database:
        assert repr(database.root["price"]) == "Price(amount=5, currency='USD', notes=['a'])"
