"""Values of classes that declare fields, which are moved, removed and added later."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import transaction

from dobbin_like import Database, PersistentDict, checkout
from dobbin_like.check import check_database
from dobbin_like.database import store_of
from dobbin_like.exc import NotStorableError, SharedValueError, ValueNotRebuiltError
from dobbin_like.exchange.json_lines import export_json_file, import_json
from dobbin_like.exchange.source import Source
from dobbin_like.objects.codec import serialize
from dobbin_like.search.snapshot_scan import SnapshotScan
from dobbin_like.storage import TransactionLog

HEAD = """
from dataclasses import dataclass, field
from typing import Generic, TypeVar
"""
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
        for name in ("attrs", "pydantic"):
            if name in source:
                vars(module)[name] = pytest.importorskip(name)
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
        if database.root is None:
            database.set_root(PersistentDict())
        checkout(database.root)
        database.root.update(values)
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


# -- new fields -------------------------------------------------------------------------

KINDS = {
    "plain": ("@dataclass", "", "field(default_factory={})"),
    "frozen": ("@dataclass(frozen=True)", "", "field(default_factory={})"),
    "slots": ("@dataclass(slots=True)", "", "field(default_factory={})"),
    "weakref": ("@dataclass(slots=True, weakref_slot=True)", "", "field(default_factory={})"),
    "both": ("@dataclass(frozen=True, slots=True)", "", "field(default_factory={})"),
    "generic": ("@dataclass(slots=True)", "(Generic[T])", "field(default_factory={})"),
    "derived": ("@dataclass(slots=True)", "(Base)", "field(default_factory={})"),
    "mixed": ("@dataclass", "(Base)", "field(default_factory={})"),
    "attrs": ("@attrs.define", "", "attrs.field(factory={})"),
    "attrs_frozen": ("@attrs.frozen", "", "attrs.field(factory={})"),
    "attrs_dict": ("@attrs.define(slots=False)", "", "attrs.field(factory={})"),
    "pydantic": ("", "(pydantic.BaseModel)", "pydantic.Field(default_factory={})"),
    "pydantic_dataclass": (
        "import pydantic.dataclasses\n@pydantic.dataclasses.dataclass",
        "",
        "pydantic.Field(default_factory={})",
    ),
}
ABOVE = """
T = TypeVar("T")
@dataclass(slots=True)
class Base:
    root: int = field(default=1, kw_only=True)
"""


def price_class(kind, *fields):
    decorator, bases, _ = KINDS[kind]
    return "\n    ".join([f"{ABOVE}\n{decorator}\nclass Price{bases}:", *fields])


def by_factory(kind, factory):
    return KINDS[kind][2].format(factory)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_field_has_its_default(shop, opened, kind):
    module = shop(price_class(kind, "amount: int", "currency: str"))
    price = module.Price(amount=5, currency="USD")
    store(opened, price=price, same=[price, price])

    notes, parts = by_factory(kind, "lambda: ['new']"), by_factory(kind, "dict")
    fields = "currency: str", "amount: int", "rate: float = 1.5", f"notes: list = {notes}"
    module = shop(price_class(kind, *fields, f"parts: dict = {parts}"))
    with opened() as database:
        root = database.root
        price = root["price"]
        assert type(price) is module.Price
        assert (price.amount, price.currency, price.rate) == (5, "USD", 1.5)
        assert (price.notes, price.parts) == (["new"], {})
        assert root["same"][0] is root["same"][1]
        with pytest.raises(SharedValueError):
            price.notes.append("lost")
        checkout(root)
        root["price"].notes.append("more")
        transaction.commit()
    with opened() as database:
        assert database.root["price"].notes == ["new", "more"]
        assert database.root["same"][0] is database.root["price"]
        check_database(database).raise_if_bad()


@pytest.mark.parametrize("kind", ["frozen", "both", "attrs_frozen"])
def test_a_key_has_the_default_of_a_new_field_before_its_hash_is_asked(shop, opened, kind):
    module = shop(price_class(kind, "amount: int"))
    store(opened, prices={module.Price(1): "one"}, members={module.Price(2)})
    tags = by_factory(kind, "tuple")
    module = shop(price_class(kind, "amount: int", "rate: int = 3", f"tags: tuple = {tags}"))
    with opened() as database:
        assert database.root["prices"][module.Price(1)] == "one"
        assert module.Price(2, 3, ()) in database.root["members"]


@pytest.mark.parametrize("kind", ["plain", "slots", "attrs", "pydantic"])
def test_a_factory_is_called_for_what_was_not_stored_only(shop, opened, kind):
    source = price_class(kind, f"notes: list = {by_factory(kind, 'lambda: make()')}")
    calls = []
    module = shop(source)
    module.make = lambda: calls.append(1) or []
    store(opened, price=module.Price(notes=["a"]))
    calls.clear()
    with opened() as database:
        assert database.root["price"].notes == ["a"]
    assert calls == []


@pytest.mark.parametrize("kind", ["plain", "slots", "attrs", "pydantic"])
def test_a_factory_that_fails_is_told_where_the_value_is_used(shop, opened, kind):
    store(opened, price=shop(price_class(kind, "amount: int")).Price(amount=1), count=1)
    module = shop(
        price_class(kind, "amount: int", f"notes: list = {by_factory(kind, 'lambda: make()')}")
    )
    with opened() as database:
        assert database.root["count"] == 1
        with pytest.raises(ValueNotRebuiltError, match="make"):
            assert database.root["price"].amount
    module.make = list
    with opened() as database:
        assert database.root["price"].notes == []


def test_a_factory_that_fails_for_a_value_without_a_state_is_told_there(shop, opened):
    store(opened, price=shop("@dataclass\nclass Price:\n    pass").Price(), count=1)
    shop(price_class("plain", f"notes: list = {by_factory('plain', 'lambda: make()')}"))
    with opened() as database:
        assert database.root["count"] == 1
        with pytest.raises(ValueNotRebuiltError, match="make"):
            _ = database.root["price"].notes


def test_a_default_that_is_a_persistent_object_is_none(shop, opened):
    """What is changed in it would belong to no object that is stored."""
    store(opened, price=shop(price_class("plain", "amount: int")).Price(amount=1))
    module = shop(
        price_class(
            "plain", "amount: int", f"notes: list = {by_factory('plain', 'lambda: make()')}"
        )
    )
    module.make = PersistentDict
    with opened() as database:
        assert database.root["price"].amount == 1
        with pytest.raises(AttributeError, match="notes"):
            _ = database.root["price"].notes


def test_a_default_of_attrs_is_made_as_in_an_instance_that_is_called_for(shop, opened):
    store(opened, price=shop("@attrs.define\nclass Price:\n    amount: int").Price(5))
    shop(
        """
@attrs.define
class Price:
    amount: int
    double: int = attrs.field(default=attrs.Factory(lambda self: 2 * self.amount, takes_self=True))
    text: str = attrs.field(default=3, converter=str)
    half: int = attrs.field(
        default=8, converter=attrs.Converter(lambda n, self: n // self.amount, takes_self=True)
    )
"""
    )
    assert shown(opened) == {"price": "Price(amount=5, double=10, text='3', half=1)"}


@pytest.mark.parametrize("later", ["plain", "frozen", "slots", "both", "attrs", "attrs_frozen"])
@pytest.mark.parametrize("former", ["plain", "frozen", "slots", "both", "attrs", "attrs_frozen"])
def test_a_class_may_come_to_declare_its_fields_otherwise(shop, opened, former, later):
    module = shop(price_class(former, "amount: int", "parts: dict"))
    store(opened, price=module.Price(5, {"a": 1}))
    if former == "slots" and later in ("frozen", "attrs", "attrs_frozen"):
        pytest.skip("Python and attrs take such a state otherwise")
    shop(price_class(later, "parts: dict", "amount: int", "rate: float = 1.5"))
    assert shown(opened) == {"price": "Price(parts={'a': 1}, amount=5, rate=1.5)"}


@pytest.mark.parametrize("kind", ["plain", "slots", "attrs", "pydantic"])
def test_a_value_of_no_fields_gets_new_ones(shop, opened, kind):
    store(opened, price=shop(price_class(kind, "pass")).Price())
    module = shop(price_class(kind, "rate: int = 3", f"notes: list = {by_factory(kind, 'list')}"))
    with opened() as database:
        price = database.root["price"]
        assert type(price) is module.Price
        assert (price.rate, price.notes) == (3, [])
    assert module.Price.__subclasses__() == []


def test_a_value_that_is_a_key_in_itself_is_refused(shop, opened):
    source = price_class("both", "amount: int", "prices: dict = field(compare=False, hash=False)")
    module = shop(source)
    price = module.Price(5, {})
    price.prices[price] = "itself"
    database = opened()
    database.set_root(PersistentDict(price=price))
    with pytest.raises(NotStorableError):  # As with pickle: its hash is asked before its state.
        transaction.commit()
    transaction.abort()
    database.close()


def test_a_class_that_is_told_of_its_subclasses_is_told_of_none(shop, opened):
    known = """
class Known:
    __slots__ = ()
    names = []
    def __init_subclass__(cls):
        cls.names.append(cls.__name__)
"""
    for options in "", "(slots=True)":
        source = (
            f"{known}@dataclass{options}\nclass Price(Known):\n    notes: list = field({{}})\n"
        )
        module = shop(source.format("default_factory=list"))
        names = [*module.Known.names]
        store(opened, price=module.Price(["a"]))
        with opened() as database:
            assert database.root["price"].notes == ["a"]
        assert module.Known.names == names


def test_what_a_field_is_not_is_stored_on(shop, opened):
    price = shop(price_class("plain", "amount: int")).Price(5)
    price.extra = 3
    store(opened, price=price)
    shop(price_class("plain", "amount: int", "notes: list = field(default_factory=list)"))
    with opened() as database:
        assert vars(database.root["price"]) == {"amount": 5, "extra": 3, "notes": []}


def test_a_removed_field_of_a_class_with_slots_is_not_dropped_without_a_word(shop, opened):
    store(opened, price=shop(price_class("slots", "amount: int", "rate: int")).Price(5, 3))
    shop(price_class("slots", "amount: int"))
    with opened() as database, pytest.raises(ValueNotRebuiltError, match="rate"):
        assert database.root["price"].amount
