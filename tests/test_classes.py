"""What may be loaded: allowed classes come back, all else is kept unharmed as a stand-in."""

from __future__ import annotations

import collections
import dataclasses
import enum
import gc
import importlib
import operator
import sys
import types

import pytest
import transaction

from dobbin_like import (
    Database,
    MemoryLog,
    Persistent,
    PersistentDict,
    PersistentList,
    TransactionLog,
    checkout,
    safe,
)
from dobbin_like.exc import (
    MainModuleWarning,
    NotStorableError,
    RedefinedClassWarning,
    UnloadedClassError,
)
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.policy import VALUE_TYPES, Policy

SHOP = """
import dataclasses, enum
from dobbin_like import Persistent

loaded = True

class Cart(Persistent):
    def __init__(self, total):
        self.total = total

@dataclasses.dataclass
class Price:
    amount: int = 0

class Kind(enum.Enum):
    FOOD = 1

class Rights(enum.Flag):
    READ = 1
    WRITE = 2

class Plain:
    def __init__(self, x):
        self.x = x
    def __eq__(self, other):
        return self.x == other.x

class Listed(list):
    pass

class Mapped(dict):
    pass

def make(x):
    return Plain(x)

class Made:
    def __init__(self, x):
        self.x = x
    def __reduce__(self):
        return remake, (self.x,), {"y": 2}
    def __setstate__(self, state):
        self.state = state

def remake(x):
    return Made(x)
"""


@dataclasses.dataclass
class Local:
    x: int = 0


class Ordinary:
    pass


class Color(enum.Enum):
    RED = 1


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A module that can be forgotten and imported again."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "shop_of_tests.py").write_text(SHOP)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module("shop_of_tests")
    sys.modules.pop("shop_of_tests", None)


def forget():
    del sys.modules["shop_of_tests"]


@pytest.fixture
def stored(path, shop):
    """A log with values of all kinds of the shop, whose module is not imported any more."""
    with Database(TransactionLog(path, sync=False), allow="shop_of_tests.*") as database:
        mapped = shop.Mapped(a=1)
        mapped.note = "m"
        listed = shop.Listed([1, 2])
        listed.note = "l"
        database.set_root(
            PersistentDict(
                {"cls": shop.Plain},
                cart=shop.Cart(5),
                price=shop.Price(3),
                kind=shop.Kind.FOOD,
                rights=shop.Rights.READ | shop.Rights.WRITE,
                plain=[shop.Plain([1]), {"k": shop.Plain(2)}],
                listed=listed,
                mapped=mapped,
                made=shop.Made(7),
                function=shop.make,
                counter=collections.Counter(a=1),
            )
        )
        transaction.commit()
    forget()
    return path


def check_contents(root):
    assert root["cart"].total == 5
    shop = sys.modules["shop_of_tests"]
    assert type(root["cart"]) is shop.Cart
    assert root["price"] == shop.Price(3)
    assert root["kind"] is shop.Kind.FOOD
    assert root["rights"] == shop.Rights.READ | shop.Rights.WRITE
    assert root["plain"] == [shop.Plain([1]), {"k": shop.Plain(2)}]
    assert (root["listed"], root["listed"].note) == ([1, 2], "l")
    assert type(root["listed"]) is shop.Listed
    assert (root["mapped"], root["mapped"].note) == ({"a": 1}, "m")
    assert (root["made"].x, root["made"].state) == (7, {"y": 2})
    assert root["function"] is shop.make
    assert root["cls"] is shop.Plain
    assert root["counter"] == collections.Counter(a=1)


# -- what comes back ----------------------------------------------------------------


def test_value_types_of_the_standard_library_are_found_where_the_list_says():
    policy = Policy(())
    for module, names in VALUE_TYPES.items():
        for name in names.split():
            found, reason = policy.resolve(module, name)
            assert isinstance(found, type), (module, name)
            assert reason == ""


def test_declared_classes_of_imported_modules_come_back(stored):
    importlib.import_module("shop_of_tests")
    with Database(stored) as database:
        root = database.root
        shop = sys.modules["shop_of_tests"]
        assert root["cart"].__class__ is shop.Cart
        assert root["price"] == shop.Price(3)
        assert root["kind"] is shop.Kind.FOOD
        with pytest.raises(UnloadedClassError, match="not named in allow"):
            _ = root["plain"][0].x


@pytest.mark.parametrize(
    "allow", ["shop_of_tests.*", ("shop_of_tests.*",), ["shop*"], ("nothing.*", "shop_of_tests.*")]
)
def test_what_the_application_has_named_is_imported_and_comes_back(stored, allow):
    with Database(stored, allow=allow) as database:
        assert "shop_of_tests" not in sys.modules
        root = database.root
        check_contents(root)


def test_classes_can_be_named_one_by_one(stored):
    with Database(stored, allow=["shop_of_tests.Plain"]) as database:
        root = database.root
        assert root["plain"][1]["k"].x == 2
        with pytest.raises(UnloadedClassError):
            _ = root["listed"].note


# -- what does not ---------------------------------------------------------------------


def test_nothing_is_imported_that_was_not_named(stored):
    with Database(stored) as database:
        root = database.root
        assert root["counter"] == collections.Counter(a=1)
        for key in root:
            repr(root[key])
        assert "shop_of_tests" not in sys.modules


def test_who_touches_a_stand_in_is_told_what_to_do(stored):
    with Database(stored) as database:
        root = database.root
        for touch in (
            lambda: root["price"].amount,
            lambda: root["plain"][0].x,
            lambda: root["listed"].note,
            lambda: len(root["listed"]),
            lambda: root["listed"][0],
            lambda: list(root["mapped"]),
            lambda: "a" in root["mapped"],
            lambda: root["function"](1),
            lambda: root["cls"](1),
            lambda: root["kind"].name,
            lambda: root["cart"].pay(),  # noqa: PLW0108 (touched later)
            lambda: len(root["cart"]),
            lambda: checkout(root["cart"]),
        ):
            with pytest.raises(UnloadedClassError) as e:
                touch()
            assert "shop_of_tests" in str(e.value)
            assert "allow=['shop_of_tests.*']" in str(e.value)


@pytest.fixture
def vanishing(path, monkeypatch):
    """A module of which objects are stored, and whose classes go then."""
    module = types.ModuleType("shop_of_now")
    monkeypatch.setitem(sys.modules, "shop_of_now", module)
    module.Cart = type(Persistent)("Cart", (Persistent,), {"__module__": "shop_of_now"})
    module.Plain = type("Plain", (), {"__module__": "shop_of_now", "size": 1})
    with Database(path, allow=["shop_of_now.*"]) as database, database.transaction():
        database.set_root(PersistentDict(cart=module.Cart(), plain=module.Plain()))
    return module


def test_a_plain_class_of_an_imported_module_is_to_be_named(path, vanishing):
    with Database(path) as database:
        with pytest.raises(UnloadedClassError) as e:
            _ = database.root["plain"].size
        assert str(e.value).endswith("in allow; open with allow=['shop_of_now.Plain']")
    with Database(path, allow=["shop_of_now.Plain"]) as database:
        assert database.root["plain"].size == 1


def test_a_class_that_its_module_has_no_more_is_to_be_renamed(path, vanishing):
    vanishing.Basket = type(Persistent)("Basket", (Persistent,), {"__module__": "shop_of_now"})
    del vanishing.Cart
    for allow in [], ["shop_of_now.*"]:
        with Database(path, allow=allow) as database:
            cart = database.root["cart"]
            for touch in checkout, operator.attrgetter("nothing"):
                with pytest.raises(UnloadedClassError) as e:
                    touch(cart)
                assert "db.rename_class('shop_of_now.Cart', new)" in str(e.value)
                assert "import" not in str(e.value)
    with Database(path) as database:
        database.rename_class("shop_of_now.Cart", "shop_of_now.Basket")
        assert type(database.root["cart"])().__class__ is vanishing.Basket


def test_a_class_of_the_main_module_of_another_program_is_to_be_moved(path, monkeypatch):
    cls = type(Persistent)("App", (Persistent,), {"__module__": "__main__", "n": 1})
    monkeypatch.setattr(sys.modules["__main__"], "App", cls, raising=False)
    with Database(path) as database, pytest.warns(MainModuleWarning), database.transaction():
        database.set_root(cls())
    monkeypatch.delattr(sys.modules["__main__"], "App")
    cls.__qualname__ = "Other"  # Else it would be found among the subclasses.
    with Database(path) as database:
        for touch in (lambda: checkout(database.root), lambda: database.root.nothing):
            with pytest.raises(UnloadedClassError) as e:
                touch()
            assert "db.rename_class('__main__.App', 'the_module.App')" in str(e.value)
            assert "import __main__" not in str(e.value)


def test_a_module_that_can_not_be_imported_is_told_with_what_to_do(stored, tmp_path):
    (tmp_path / "modules" / "shop_of_tests.py").write_text("raise ValueError('broken')\n")
    with (
        Database(stored, allow="shop_of_tests.*") as database,
        pytest.raises(UnloadedClassError, match=r"broken; correct shop_of_tests, or call db\."),
    ):
        checkout(database.root["cart"])


@pytest.mark.parametrize(
    "name", ["shop_of_tests", "shop_of_tests.", "", ".Cart", "os", "os.path", "tests.test_classes"]
)
def test_a_name_in_allow_that_names_no_class_is_refused(name):
    with pytest.raises(
        ValueError, match=r"names no class; expected .*\.\*'.*'namedtuple', 'numpy'"
    ):
        Database(MemoryLog(), allow=[name])
    with pytest.raises(ValueError, match="names no class"):
        Database(MemoryLog(), allow=name)


@pytest.mark.parametrize("name", [PersistentDict, 1, None])
def test_what_is_no_name_in_allow_is_refused(name):
    with pytest.raises(TypeError, match=r"expected names, as .*, got"):
        Database(MemoryLog(), allow=[name])


@pytest.mark.parametrize(
    "make",
    [
        lambda: collections.namedtuple("Pair", "x y")(1, 2),
        lambda: dataclasses.make_dataclass("Pair", ["x"])(1),
        lambda: enum.Enum("Pair", "x y").x,
    ],
)
@pytest.mark.parametrize("allow", [[], ["namedtuple"], ["tests.*"]])
def test_a_class_that_its_module_does_not_show_is_not_said_to_need_allow(make, allow):
    made = make()
    type(made).__module__ = __name__
    with (
        Database(MemoryLog(), allow=allow) as database,
        pytest.raises(NotStorableError) as e,
        database.transaction(),
    ):
        database.set_root(PersistentDict(pair=made))
    assert e.value.path == "._items['pair']"
    assert "define it at the top of a module, by the name Pair" in str(e.value)
    assert "allow" not in str(e.value)


def test_a_stand_in_cannot_be_changed(stored):
    with Database(stored) as database:
        root = database.root
        checkout(root)
        for change in (
            lambda: setattr(root["price"], "amount", 5),
            lambda: setattr(root["plain"][0], "x", 5),
            lambda: root["listed"].append(5),
            lambda: root["mapped"].__setitem__("a", 5),
            lambda: setattr(root["cart"], "total", 6),
        ):
            with pytest.raises((UnloadedClassError, AttributeError, TypeError)):
                change()
        transaction.commit()
    with Database(stored, allow="shop_of_tests.*") as database:
        check_contents(database.root)


def test_stand_ins_are_stored_back_unharmed(stored):
    with Database(stored) as database:
        root = database.root
        checkout(root)
        root["more"] = 1
        transaction.commit()
        checkout(root)
        root["moved"] = PersistentDict(root)
        root["twice"] = [root["plain"], root["price"]]
        transaction.commit()
    with Database(stored, allow="shop_of_tests.*") as database:
        root = database.root
        check_contents(root)
        check_contents(root["moved"])
        assert root["more"] == 1
        assert root["twice"][1] is root["price"]


def test_a_stand_in_that_was_only_looked_at_is_not_written(stored):
    with Database(stored) as database:
        root = database.root
        before = len(database.storage)
        checkout(root)
        for key in root:
            assert root[key] is not None
        transaction.commit()

        assert len(database.storage) == before


def test_a_persistent_object_of_an_unknown_class_is_itself_again_after_the_import(stored):
    with Database(stored) as database:
        cart = database.root["cart"]
        with pytest.raises(UnloadedClassError, match="shop_of_tests is not imported"):
            cart.pay()
        assert cart._p_oid == 1

        importlib.import_module("shop_of_tests")

        assert cart.total == 5
        assert cart.__class__ is sys.modules["shop_of_tests"].Cart
        assert database.root["cart"] is cart


def test_an_object_of_an_unknown_class_can_be_moved(stored):
    with Database(stored) as database:
        root = database.root
        checkout(root)
        root["box"] = PersistentDict(cart=root["cart"])
        transaction.commit()
        assert root["box"]["cart"] is root["cart"]
    with Database(stored, allow="shop_of_tests.*") as database:
        assert database.root["box"]["cart"].total == 5


def test_a_class_that_is_gone_is_named(stored, tmp_path):
    (tmp_path / "modules" / "shop_of_tests.py").write_text("x = 1\n")
    with Database(stored, allow="shop_of_tests.*") as database:
        cart = database.root["cart"]
        with pytest.raises(UnloadedClassError, match="has no Cart"):
            cart.pay()


def test_a_module_that_fails_to_import_is_named_with_its_error(stored, tmp_path):
    (tmp_path / "modules" / "shop_of_tests.py").write_text("raise ValueError('broken')\n")
    with Database(stored, allow="shop_of_tests.*") as database:
        cart = database.root["cart"]
        with pytest.raises(UnloadedClassError, match="ValueError: broken"):
            cart.pay()


def test_a_member_that_an_enum_has_lost_is_kept(stored, tmp_path):
    module = tmp_path / "modules" / "shop_of_tests.py"
    module.write_text(SHOP.replace("FOOD", "DRINK"))
    with Database(stored, allow="shop_of_tests.*") as database:
        root = database.root
        with pytest.raises(UnloadedClassError, match="no member 'FOOD'"):
            _ = root["kind"].value
        checkout(root)
        root["more"] = 1
        transaction.commit()
    forget()
    module.write_text(SHOP)
    importlib.invalidate_caches()
    with Database(stored, allow="shop_of_tests.*") as database:
        check_contents(database.root)


# -- what is refused when it is stored ---------------------------------------------------


def test_what_could_not_be_loaded_back_is_refused_when_it_is_stored(database):
    def local():
        pass

    for value, reason in [
        (Ordinary(), "open the database with allow="),
        (Ordinary, "open the database with allow="),
        (print, "builtins.print could not be loaded back"),
        (local, "defined inside a function"),
        (lambda: 0, "defined inside a function"),
        (type("Inner", (), {"__qualname__": "Ordinary"})(), "not the same object as"),
        (eval, "could not be loaded back"),
    ]:
        database.set_root(PersistentDict(value=value))
        with pytest.raises(NotStorableError, match=reason) as e:
            transaction.commit()
        transaction.abort()
        assert "['value']" in e.value.path
    assert len(database) == 0


@pytest.mark.parametrize("allow", [[], ["*"], ["builtins.*"]])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (type(None), r"builtins\.NoneType .*: builtins has nothing of this name, so it can't be"),
        (type(...), r"builtins\.ellipsis .*: builtins has nothing of this name, so it can't be"),
        (type(lambda: 0), r"builtins\.function .*: builtins has nothing of this name"),
        ([].append, "list.append is a method of a value; store the value, and call its method"),
        (dict.fromkeys, "dict.fromkeys is a method of a value; store the value, and call"),
    ],
)
def test_what_no_name_leads_to_is_refused_without_advice_that_does_not_help(
    again, allow, value, reason
):
    database = again(allow=allow)
    database.set_root(PersistentDict(value=[value]))
    with pytest.raises(NotStorableError, match=reason) as e:
        database.transaction_manager.commit()
    assert "allow" not in str(e.value)
    assert e.value.path.endswith("['value'][0]")


@pytest.mark.parametrize("allow", [[], ["*"]])
@pytest.mark.parametrize("kind", ["database", "storage", "safe"])
def test_what_is_opened_by_its_path_is_no_value(again, path, kind, allow):
    # The advice was to allow a function that opens files.
    database = again(allow=allow, transaction_manager=transaction.manager)
    with safe.open(path.with_name("kept.safe")) as kept:
        handle = {"database": database, "storage": database.storage, "safe": kept}[kind]
        database.set_root(PersistentDict(value=[handle]))
        with pytest.raises(NotStorableError, match="is no value; store its path") as e:
            transaction.commit()
        assert "['value'][0]" in e.value.path


def test_what_is_stored_after_a_reload_is_loaded_with_the_new_classes(path, shop):
    # Until the database was opened again, it was loaded with those that had the names before.
    with Database(path) as database:
        old = [shop.Price(1), shop.Kind.FOOD, shop.Cart(1), shop.Cart(2)]
        database.set_root(PersistentDict(old=old, lists=[PersistentList([each]) for each in old]))
        transaction.commit()
    with Database(path) as database:
        assert isinstance(database.root["old"][2], shop.Cart)
        importlib.reload(shop)
        assert not isinstance(database.root["old"][2], shop.Cart)

        checkout(database.root)
        database.root["new"] = [shop.Price(2), shop.Kind.FOOD, shop.Cart(3)]
        number = database.root["old"][3]._p_oid
        del database.root["old"]
        transaction.commit()

        assert database.root["new"][:2] == [shop.Price(2), shop.Kind.FOOD]
        assert database.root["lists"][0] == [shop.Price(1)]
        gc.collect()
        read_anew = database.root["lists"][3][0]
        assert read_anew._p_oid == number
        assert isinstance(read_anew, shop.Cart)
        assert read_anew.total == 2


def test_a_class_of_a_reloaded_module_is_refused(database, shop):
    old = shop.Price
    importlib.reload(shop)
    database.set_root(PersistentDict(price=old(1)))

    with pytest.raises(NotStorableError, match="the module was reloaded, or"):
        transaction.commit()
    transaction.abort()
    database.set_root(PersistentDict(price=shop.Price(1)))
    transaction.commit()
    assert database.root["price"] == shop.Price(1)


def test_values_that_are_stored_after_a_reload_are_of_the_new_class(database, shop):
    database.set_root(PersistentDict(price=shop.Price(1), kind=shop.Kind.FOOD))
    transaction.commit()
    root = database.root
    importlib.reload(shop)

    checkout(root)
    root.update(new=shop.Price(1), new_kind=shop.Kind.FOOD)
    transaction.commit()

    assert root["new"] == shop.Price(1)
    assert root["new_kind"] is shop.Kind.FOOD
    assert (root["price"], root["kind"]) == (shop.Price(1), shop.Kind.FOOD)


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("has_new", [False, True])
def test_a_class_of_a_reloaded_module_finds_the_objects_of_before(
    database, shop, again, indexed, has_new
):
    old = shop.Cart
    database.set_root(PersistentList([shop.Cart(1), shop.Cart(2)]))
    transaction.commit()
    if indexed:
        database.index(shop.Cart, "total")
    importlib.reload(shop)
    if has_new:
        checkout(database.root)
        database.root.append(shop.Cart(2))
        transaction.commit()

    for cls in (shop.Cart, old) if has_new else (shop.Cart,):
        for ask in (
            lambda cls: database.find(cls, total=2),
            lambda cls: (each for each in [*database.instances(cls)] if each.total == 2),
        ):
            with pytest.warns(RedefinedClassWarning, match="Cart was defined again: ") as caught:
                assert [*ask(cls)] == database.root[1:]
            assert [each.filename for each in caught] == [__file__]
    with pytest.warns(RedefinedClassWarning):
        assert database.migrate(shop.Cart) == 0
    opened = again()
    found = [*opened.find(shop.Cart, total=2)]
    assert [isinstance(each, shop.Cart) for each in found] == [True] * (1 + has_new)


def test_what_is_new_of_a_reloaded_class_is_found_before_its_commit(database, shop):
    old = shop.Cart(2)
    database.set_root(PersistentList([old]))
    importlib.reload(shop)

    assert list(database.find(shop.Cart, total=2)) == [old]


def test_what_was_loaded_before_a_reload_does_not_hinder_a_commit(path, shop):
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict(price=shop.Price(1)))
        transaction.commit()
    with Database(TransactionLog(path, sync=False)) as database:
        root = database.root
        assert root["price"] == shop.Price(1)
        importlib.reload(shop)

        checkout(root)
        root["other"] = 1
        transaction.commit()
        checkout(root)
        root["more"] = shop.Price(3)
        transaction.commit()
        checkout(root)
        root["other"] = 2
        transaction.commit()

        assert (root["more"], root["other"]) == (shop.Price(3), 2)
    with Database(TransactionLog(path, sync=False)) as database:
        assert database.root["price"] == shop.Price(1)


def test_a_class_of_main_is_stored_with_a_warning(database, monkeypatch):
    main = sys.modules["__main__"]
    cls = dataclasses.dataclass(type("Main", (), {"__module__": "__main__"}))
    monkeypatch.setattr(main, "Main", cls, raising=False)
    database.set_root(PersistentDict(value=cls()))

    with pytest.warns(MainModuleWarning, match="other programs can't load it"):
        transaction.commit()

    assert type(database.root["value"]) is cls


def test_numbers_of_a_failed_transaction_are_given_out_again(database, again):
    database.set_root(PersistentDict(local=Local(1), bad=Ordinary()))
    with pytest.raises(NotStorableError):
        transaction.commit()
    transaction.abort()

    database.set_root(PersistentDict(color=Color.RED, local=Local(1)))
    transaction.commit()

    assert dict(again().root) == {"color": Color.RED, "local": Local(1)}


def test_two_instances_that_use_new_classes_at_once_do_not_mix_them_up(database, again):
    root = PersistentDict()
    first, second = PersistentDict(), PersistentDict()
    checkout(root)
    root["first"], root["second"] = first, second
    database.set_root(root)
    transaction.commit()
    other = again()
    theirs = other.root["second"]
    checkout(first, theirs)
    first["value"] = Local(1)
    theirs["value"] = Color.RED
    transaction.commit()
    other.transaction_manager.commit()

    fresh = again().root
    assert fresh["first"]["value"] == Local(1)
    assert fresh["second"]["value"] is Color.RED
    transaction.begin()
    assert second["value"] is Color.RED


def test_persistent_class_named_in_a_state_comes_back(database, again):
    database.set_root(PersistentDict(cls=PersistentDict, base=Persistent, int=int))
    transaction.commit()

    assert dict(again().root) == {"cls": PersistentDict, "base": Persistent, "int": int}


class NoNames:
    next_number = 1
    forgotten = 0

    def class_name(self, number):
        return "os", "system"

    def class_number(self, module, qualname):
        return None


def test_a_number_that_means_a_function_gives_no_function():
    table = ClassTable(Policy(()), NoNames())

    stand_in = table.load(1)

    with pytest.raises(UnloadedClassError, match=r"os\.system is not loaded"):
        stand_in._p_refuse(stand_in())
