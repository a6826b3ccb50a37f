"""Classes over the years: renamed, gone and back, of another version."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
import transaction

from dobbin_like import Database, Persistent, PersistentDict, PersistentList, checkout
from dobbin_like.check import check_database, check_log
from dobbin_like.exc import (
    BrokenObjectError,
    ClassNotSupported,
    ClosedError,
    ConflictError,
    LockTimeout,
    MigrationError,
    NewerStateError,
    NotPersistentError,
    NotStorableError,
    ReadOnlyError,
    ReadOnlyStorageError,
    RenameError,
    SelfWaitError,
    SharedValueError,
    UnloadedClassError,
)
from dobbin_like.storage import MemoryLog, OverlayLog, TransactionLog
from tests.helpers.interrupts import interrupted
from tests.helpers.processes import run, start
from tests.helpers.steps import in_thread

OLD = """
import dataclasses, enum
from dobbin_like import Persistent, PersistentDict

class Cart(Persistent):
    def __init__(self, total, other=None):
        self.total = total
        self.lines = [total, {"price": Price(total)}]
        self.other = other

    def pay(self):
        return f"paid {self.total}"

class Basket(PersistentDict):
    pass

class Outer:
    class Inner(Persistent):
        def __init__(self, x):
            self.x = x

@dataclasses.dataclass
class Price:
    amount: int = 0

class Kind(enum.Enum):
    FOOD = 1

def tax(price):
    return price
"""

NEW = """
import dataclasses, enum
from dobbin_like import Persistent, PersistentDict

class Order(Persistent):
    def __init__(self, total):
        self.total = total
        self.lines = []
        self.other = None

    def pay(self):
        return f"paid the order of {self.total}"

class Bag(PersistentDict):
    pass

class Frame:
    class Inside(Persistent):
        pass

@dataclasses.dataclass
class Cost:
    amount: int = 0

class Sort(enum.Enum):
    FOOD = 1

class Plain:
    pass

def duty(price):
    return price
"""


class Modules:
    """Modules that are written, imported and forgotten."""

    def __init__(self, folder):
        self.folder = folder
        self.names = set()

    def __call__(self, name, text):
        self.forget(name)
        (self.folder / f"{name}.py").write_text(textwrap.dedent(text))
        self.names.add(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    def forget(self, name):
        sys.modules.pop(name, None)

    def remove(self, name):
        self.forget(name)
        (self.folder / f"{name}.py").unlink()
        importlib.invalidate_caches()


@pytest.fixture
def modules(tmp_path, monkeypatch):
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    modules = Modules(folder)
    yield modules
    for name in modules.names:
        modules.forget(name)


@pytest.fixture
def old(modules):
    return modules("life_old", OLD)


@pytest.fixture
def new(modules):
    return modules("life_new", NEW)


def fill(database, old):
    cart = old.Cart(1)
    root = PersistentDict(
        cart=cart,
        second=old.Cart(2, other=cart),
        basket=old.Basket(a=1),
        inner=old.Outer.Inner(5),
        price=old.Price(7),
        kind=old.Kind.FOOD,
    )
    database.set_root(root)
    transaction.commit()
    return root  # With it, all of these stay in memory as they are.


@pytest.fixture
def stored(path, old, modules):
    """A log with objects of ``life_old``, which is not imported any more."""
    with Database(TransactionLog(path, sync=False), allow="life_old.*") as database:
        fill(database, old)
    modules.forget("life_old")
    return path


def fresh(path, **options):
    """Open a database with a graph and transactions of its own."""
    manager = transaction.TransactionManager()
    return Database(TransactionLog(path, sync=False), transaction_manager=manager, **options)


def in_process(path, modules, code):
    """Run *code* in another process, with the database open as ``db``."""
    script = f"""
import sys
sys.path.insert(0, {str(modules.folder)!r})
sys.dont_write_bytecode = True
import transaction
from dobbin_like import Database, PersistentDict, checkout
db = Database({str(path)!r}, allow="life_*")
"""
    script += textwrap.dedent(code)
    done = run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- renaming: the new name ------------------------------------------------------------


@pytest.mark.parametrize("as_classes", [False, True])
def test_what_is_stored_is_of_the_new_class(database, old, new, path, as_classes):
    fill(database, old)
    names = (old.Cart, new.Order) if as_classes else ("life_old.Cart", "life_new.Order")

    database.rename_class(*names)

    with fresh(path) as other:
        assert type(other.root["cart"]) is new.Order or other.root["cart"].total == 1
        assert other.root["cart"].__class__ is new.Order
        assert other.root["cart"].pay() == "paid the order of 1"
        assert other.root["second"].other is other.root["cart"]
        assert isinstance(other.root["second"], new.Order)


def test_a_class_that_is_gone_is_renamed(stored, new):
    with fresh(stored) as database:
        database.rename_class("life_old.Cart", "life_new.Order")

        assert database.root["cart"].pay() == "paid the order of 1"
        assert "life_old" not in sys.modules
        check_database(database).raise_if_bad()


def test_a_broken_object_becomes_whole_by_a_renaming(stored, new):
    with fresh(stored) as database:
        cart = database.root["cart"]
        assert cart.total == 1
        with pytest.raises(UnloadedClassError):
            cart.pay()

        database.rename_class("life_old.Cart", "life_new.Order")

        assert cart.pay() == "paid the order of 1"
        assert type(cart) is new.Order
        assert database.root["cart"] is cart


def test_a_ghost_in_memory_is_of_the_new_class_when_it_is_read(path, database, old, new):
    fill(database, old)
    with fresh(path) as other:
        cart = other.root["cart"]
        assert cart.__class__ is old.Cart

        other.rename_class("life_old.Cart", "life_new.Order")

        assert cart.total == 1
        assert type(cart) is new.Order


def test_what_was_read_keeps_its_class_until_it_is_read_anew(database, old, new, again):
    root = fill(database, old)
    cart = root["cart"]
    assert type(cart) is old.Cart
    database.rename_class("life_old.Cart", "life_new.Order")
    assert type(cart) is old.Cart
    assert cart.pay() == "paid 1"

    other = again()
    theirs = other.root["cart"]
    checkout(theirs)
    theirs.total = 10
    other.transaction_manager.commit()
    transaction.begin()

    assert cart.pay() == "paid the order of 10"
    assert type(cart) is new.Order


def test_nested_classes_are_renamed(database, old, new, again):
    fill(database, old)

    database.rename_class("life_old.Outer.Inner", "life_new.Frame.Inside")

    assert again().root["inner"].x == 5
    assert again().root["inner"].__class__ is new.Frame.Inside


@pytest.mark.parametrize("gone", [False, True])
def test_value_classes_and_enums_are_renamed(stored, new, modules, gone):
    if not gone:
        modules("life_old", OLD)
    with fresh(stored) as database:
        database.rename_class("life_old.Price", "life_new.Cost")
        database.rename_class("life_old.Kind", "life_new.Sort")

        assert database.root["price"] == new.Cost(7)
        assert database.root["kind"] is new.Sort.FOOD
        check_database(database).raise_if_bad()


def test_a_function_that_is_stored_by_name_is_renamed(database, old, new, path):
    with fresh(path, allow="life_*") as ours:
        ours.set_root(PersistentDict(rule=old.tax))
        ours.transaction_manager.commit()
        ours.rename_class("life_old.tax", "life_new.duty")
    with fresh(path, allow="life_*") as ours:
        assert ours.root["rule"] is new.duty


def test_renaming_back_gives_the_old_class(database, old, new, again):
    fill(database, old)
    database.rename_class("life_old.Cart", "life_new.Order")
    database.rename_class("life_new.Order", "life_old.Cart")

    assert again().root["cart"].pay() == "paid 1"
    assert again().root["cart"].__class__ is old.Cart


def test_a_name_that_is_known_already_is_merged(database, old, new, again):
    root = fill(database, old)
    checkout(root)
    root["order"] = new.Order(9)
    transaction.commit()

    database.rename_class("life_old.Cart", "life_new.Order")
    merged = again().root
    assert {type_of(merged[name]) for name in ("cart", "second", "order")} == {new.Order}

    # What is stored keeps its number, also where it is referred to.
    checkout(root, root["cart"], root["order"])
    root["both"] = [root["cart"], root["order"]]
    root["cart"].total = root["order"].total = 3
    transaction.commit()
    assert {type_of(obj) for obj in again().root["both"]} == {new.Order}

    # And both numbers go on together.
    database.rename_class("life_new.Order", "life_old.Cart")
    parted = again().root
    assert {type_of(parted[name]) for name in ("cart", "second", "order")} == {old.Cart}


def type_of(obj):
    return obj.__class__


def test_another_name_of_a_class_becomes_its_own(database, old, modules, again):
    """What is imported into a module for those who look for it there."""
    fill(database, old)
    home = modules(
        "life_home", "from dobbin_like import Persistent\nclass Cart(Persistent): pass\n"
    )
    modules("life_door", "from life_home import Cart\n")

    database.rename_class("life_old.Cart", "life_door.Cart")

    assert database.storage.names.class_number("life_home", "Cart") is not None
    assert again().root["cart"].__class__ is home.Cart


def test_a_class_that_was_moved_without_a_renaming_is_stored_under_its_number(
    database, old, modules, again
):
    fill(database, old)
    modules("life_home", OLD)
    modules("life_old", "from life_home import *")
    other = again()
    root = other.root
    cart = root["cart"]
    assert root["second"].other.__class__ is sys.modules["life_home"].Cart
    checkout(root, cart)
    cart.total = 6
    root["more"] = [cart]
    other.transaction_manager.commit()
    assert cart.__class__.__module__ == "life_home"
    check_database(other).raise_if_bad()


def test_new_objects_of_the_old_class_are_of_the_old_class(database, old, new, again):
    root = fill(database, old)
    database.rename_class("life_old.Cart", "life_new.Order")

    checkout(root)
    root["new"] = old.Cart(8)
    transaction.commit()

    fresh_root = again().root
    assert fresh_root["new"].__class__ is old.Cart
    assert fresh_root["cart"].__class__ is new.Order


def test_what_is_changed_under_its_old_class_stays_of_the_new(database, old, new, again):
    root = fill(database, old)
    cart = root["cart"]
    database.rename_class("life_old.Cart", "life_new.Order")

    checkout(cart, root)
    cart.total = 50
    root["again"] = cart
    transaction.commit()

    assert type(cart) is old.Cart
    fresh_root = again().root
    assert fresh_root["cart"].pay() == "paid the order of 50"
    assert fresh_root["again"] is fresh_root["cart"]


# -- renaming: the transaction ------------------------------------------------------------


def test_it_is_one_small_transaction_however_many_instances_there_are(path, old, new):
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentList([old.Basket(n=n) for n in range(2000)]))
        transaction.commit()
        size, count = path.stat().st_size, len(database.storage)

        database.rename_class("life_old.Basket", "life_new.Bag")

        assert len(database.storage) == count + 1
        assert path.stat().st_size - size < 1024
        *_, logged = database.storage.transactions()
        assert not logged.oids
        assert logged.description == "rename class life_old.Basket to life_new.Bag"
        check_database(database).raise_if_bad()


def test_the_transaction_of_the_thread_is_left_alone(database, old, new, again):
    root = fill(database, old)
    checkout(root)
    root["mine"] = 1
    other = again()
    checkout(other.root["cart"])
    other.root["cart"].total = 77
    other.transaction_manager.commit()

    database.rename_class("life_old.Basket", "life_new.Bag")

    assert root["cart"].total == 1  # the snapshot is what it was
    assert "mine" not in again().root
    transaction.commit()
    assert again().root["mine"] == 1
    assert root["cart"].total == 77


def test_a_checked_out_object_of_the_class_is_stored_under_its_number(database, old, new, again):
    root = fill(database, old)
    cart = root["cart"]
    checkout(cart)
    cart.total = 11

    database.rename_class("life_old.Cart", "life_new.Order")
    transaction.commit()

    assert again().root["cart"].pay() == "paid the order of 11"


def test_a_renaming_by_another_instance_reaches_a_commit_under_way(database, old, new, again):
    root = fill(database, old)
    cart = root["cart"]
    checkout(cart, root)
    cart.total = 12
    root["new"] = old.Cart(13)

    again().rename_class("life_old.Cart", "life_new.Order")
    transaction.commit()

    fresh_root = again().root
    assert fresh_root["cart"].pay() == "paid the order of 12"
    assert fresh_root["new"].__class__ is old.Cart


def test_inside_of_a_commit_it_is_refused(database, old, new):
    root = fill(database, old)

    class Rename:
        def __getstate__(self):
            database.rename_class("life_old.Cart", "life_new.Order")

    seen = []
    transaction.manager.get().addBeforeCommitHook(lambda: seen.append(database.storage.held))
    checkout(root)
    database.storage.acquire()
    try:
        with pytest.raises(SelfWaitError):
            database.rename_class("life_old.Cart", "life_new.Order")
    finally:
        database.storage.release()
    transaction.abort()
    assert database.storage.names.class_number("life_old", "Cart") is not None


def test_all_threads_follow(database, old, new, again):
    other = again()
    fill(database, old)

    def rename():
        database.rename_class("life_old.Cart", "life_new.Order")

    in_thread(rename)
    other.transaction_manager.begin()
    assert in_thread(lambda: other.get(1).pay()).startswith("paid the order")


def test_other_processes_follow(stored, new, modules):
    (modules.folder / "life_new.py").write_text(NEW)
    with fresh(stored) as database:
        cart = database.root["cart"]
        basket = database.root["basket"]
        assert cart.total == 1

        in_process(
            stored,
            modules,
            """
            db.rename_class("life_old.Cart", "life_new.Order")
            db.rename_class("life_old.Basket", "life_new.Bag")
            """,
        )

        database.transaction_manager.begin()
        assert cart.pay() == "paid the order of 1"
        assert (basket["a"], type(basket)) == (1, new.Bag)


def test_a_program_without_the_new_class_goes_on_with_the_old(database, old, modules, path):
    root = fill(database, old)
    (modules.folder / "life_new.py").write_text(NEW)
    in_process(path, modules, 'db.rename_class("life_old.Cart", "life_new.Order")')
    transaction.begin()
    assert "life_new" not in sys.modules

    second = root["second"]
    checkout(second)
    second.total = 20
    transaction.commit()
    assert second.pay() == "paid 20"
    in_process(
        path, modules, "c = db.root['cart']; checkout(c); c.total = 5; transaction.commit()"
    )
    transaction.begin()
    assert root["cart"].pay() == "paid 5"

    add = "import life_new; checkout(db.root); db.root['third'] = life_new.Order(30)"
    in_process(path, modules, add + "; transaction.commit()")
    transaction.begin()
    assert root["third"].pay() == "paid 30"
    assert type(root["third"]) is old.Cart
    out = in_process(path, modules, "print(db.root['second'].pay(), '/', db.root['cart'].pay())")
    assert out.strip() == "paid the order of 20 / paid the order of 5"


def test_readers_in_other_threads_see_one_class_or_the_other(database, old, new, path):
    fill(database, old)
    database.rename_class("life_old.Outer.Inner", "life_new.Frame.Inside")
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            with fresh(path) as other:
                carts = [other.root["cart"], other.root["second"]]
                wrong.extend(cart for cart in carts if cart.total not in (1, 2))
                wrong.extend({type(cart) for cart in carts} - {old.Cart, new.Order})

    def follow():
        with fresh(path) as other:
            while not stop.is_set():
                other.transaction_manager.begin()
                wrong.extend([] if other.get(1).total == 1 else [other.get(1)])

    threads = [threading.Thread(target=target) for target in (read, follow, follow)]
    for thread in threads:
        thread.start()
    names = ["life_old.Cart", "life_new.Order"]
    for _ in range(50):
        database.rename_class(*names)
        names.reverse()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_storage_without_a_file_renames_too(old, new):
    log = MemoryLog()
    with Database(log) as database:
        fill(database, old)
        database.rename_class("life_old.Cart", "life_new.Order")
        other = Database(log.another(), transaction_manager=transaction.TransactionManager())
        assert type_of(other.root["cart"]) is new.Order
        assert other.root["cart"].total == 1
        database.rename_class("life_old.Basket", "life_new.Bag")
        other.transaction_manager.begin()
        assert (other.root["basket"]["a"], type(other.root["basket"])) == (1, new.Bag)
        other.close()


def test_a_renaming_over_a_base_leaves_the_base_alone(stored, new):
    base = TransactionLog(stored, read_only=True)
    with fresh_over(OverlayLog(base)) as database:
        database.rename_class("life_old.Cart", "life_new.Order")
        assert database.root["cart"].pay() == "paid the order of 1"
        database.migrate(new.Order)
    assert base.names.class_number("life_old", "Cart") is not None
    assert base.names.class_number("life_new", "Order") is None
    base.close()


def fresh_over(storage):
    return Database(storage, transaction_manager=transaction.TransactionManager())


# -- renaming: what is refused ---------------------------------------------------------------


def refused(database, old, new, reason):
    before = len(database.storage)
    with pytest.raises(RenameError, match=reason):
        database.rename_class(old, new)
    assert len(database.storage) == before
    assert not database.storage.held


def test_names_that_do_not_fit_are_refused(database, old, new):
    fill(database, old)
    for names, reason in {
        ("life_old.Trolley", "life_new.Order"): "the log knows no class of this name",
        (
            "life_old.Cart",
            "life_new.Trolley",
        ): "can't be loaded: the module life_new has no Trolley; define it there",
        ("life_old.Cart", "life_none.Order"): "life_none is not imported; import it before",
        ("life_old.Cart", "life_old.Cart"): "it has this name already",
        ("Cart", "life_new.Order"): "'Cart' is no name of a class",
        ("life_old.Cart", "Order"): "'Order' is no name of a class",
        ("life_old.Cart", ""): "'' is no name of a class",
        ("life_old.Cart", "life_new..Order"): "is no name of a class",
        ("life_old.Cart", "life_new.Plain"): "not named in allow; name it in allow$",
    }.items():
        refused(database, *names, reason)
    with fresh(database.storage.path, allow="life_none.*") as allowing:
        reason = "No module named 'life_none'; correct the module, or sys.path if it is elsewhere"
        refused(allowing, "life_old.Cart", "life_none.Order", reason)
    for names in [(1, "life_new.Order"), ("life_old.Cart", None), (b"a.b", "c.d")]:
        with pytest.raises(TypeError, match="expected a class or the name of one"):
            database.rename_class(*names)


def test_renaming_twice_is_refused_the_second_time(database, old, new):
    fill(database, old)
    database.rename_class("life_old.Cart", "life_new.Order")
    refused(database, "life_old.Cart", "life_new.Order", "the log knows no class of this name")
    refused(database, "life_new.Order", "life_new.Order", "it has this name already")


@pytest.mark.parametrize("loaded", [False, True])
def test_persistent_objects_do_not_become_values_nor_values_objects(stored, new, modules, loaded):
    if loaded:
        modules("life_old", OLD)
    with fresh(stored) as database:
        refused(database, "life_old.Cart", "life_new.Cost", "objects are persistent")
        refused(database, "life_old.Cart", "life_new.Sort", "objects are persistent")
        refused(database, "life_old.Price", "life_new.Order", "no persistent object is of it")
    with fresh(stored, allow="life_*") as database:
        refused(database, "life_old.Cart", "life_new.Plain", "objects are persistent")
        refused(database, "life_old.Cart", "life_new.duty", "objects are persistent")


def test_a_class_of_a_reloaded_module_is_refused(database, old, new, modules):
    fill(database, old)
    before = new.Order
    importlib.reload(new)
    refused(database, old.Cart, before, "the name means another class by now")


def test_an_empty_log_knows_no_class_and_is_not_made(path, new):
    with Database(path) as database:
        refused(database, "life_old.Cart", "life_new.Order", "the log knows no class")
    assert not path.exists()


def test_read_only_closed_and_locked_storages_say_so(database, old, new, path):
    fill(database, old)
    with Database(TransactionLog(path, read_only=True)) as reader:
        with pytest.raises(ReadOnlyStorageError):
            reader.rename_class("life_old.Cart", "life_new.Order")
        with pytest.raises(ReadOnlyStorageError):
            reader.migrate(old.Cart) or reader.rename_class("life_old.Cart", "life_new.Order")
    with pytest.raises(ClosedError):
        reader.rename_class("life_old.Cart", "life_new.Order")
    with pytest.raises(ClosedError):
        reader.migrate(old.Cart)
    waiting = Database(
        TransactionLog(path, lock_timeout=0.01),
        transaction_manager=transaction.TransactionManager(),
    )
    with waiting:
        database.storage.acquire()
        try:
            with pytest.raises(LockTimeout):
                in_thread(waiting.rename_class, "life_old.Cart", "life_new.Order")
        finally:
            database.storage.release()
        waiting.rename_class("life_old.Cart", "life_new.Order")


def test_a_full_disk_leaves_all_as_it_was(database, old, new, again, monkeypatch):
    from dobbin_like.log.file import disk

    fill(database, old)
    write = disk.write

    def full(fd, path, data, offset):
        write(fd, path, data[:10], offset)
        raise OSError(28, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write", full)
        with pytest.raises(OSError, match="No space left"):
            database.rename_class("life_old.Cart", "life_new.Order")

    assert again().root["cart"].__class__ is old.Cart
    database.rename_class("life_old.Cart", "life_new.Order")
    assert again().root["cart"].__class__ is new.Order


def test_ctrl_c_in_the_midst_leaves_it_renamed_or_not(path, old, new):
    """At every line of the commit: what is in memory and in the log agrees afterwards."""
    with Database(TransactionLog(path, sync=False)) as database:
        fill(database, old)
        names = ["life_old.Cart", "life_new.Order"]
        done = times = 0
        line = 0
        while done < 2:
            line += 1
            if interrupted(lambda: database.rename_class(*names), line):
                times += 1
                done = 0
            else:
                done += 1
            assert not database.storage.held
            known = database.storage.names.class_number(*names[1].split("."))
            if known is not None:
                names.reverse()
        assert times > 100
        check_database(database).raise_if_bad()
        with fresh(path) as other:
            expected = old.Cart if names[0] == "life_old.Cart" else new.Order
            assert other.root["cart"].__class__ is expected


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_any_moment_it_is_renamed_or_not(stored, new, modules, seed):
    (modules.folder / "life_new.py").write_text(NEW)
    script = f"""
import sys
sys.path.insert(0, {str(modules.folder)!r})
from dobbin_like import Database
db = Database({str(stored)!r}, allow="life_new.*")
names = ["life_old.Basket", "life_new.Bag"]
db.rename_class(*names)
print("go", flush=True)
names = ["life_new.Bag", "life_new.Order"]
while True:
    db.rename_class("life_new.Bag", "life_new.Other")
    print("a", flush=True)
    db.rename_class("life_new.Other", "life_new.Bag")
    print("b", flush=True)
"""
    with (modules.folder / "life_new.py").open("a") as file:
        file.write("\nclass Other(PersistentDict):\n    pass\n")
    process = start([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "go\n"
    seen = "b\n"
    for _ in range(3 + 7 * seed):
        seen = process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait()
    process.stdout.close()
    last = (seen + rest).split("\n")
    modules.forget("life_new")
    check_log(str(stored)).raise_if_bad()
    with fresh(stored, allow="life_new.*") as database:
        name = type_of(database.root["basket"]).__name__
        assert name in {"Bag", "Other"}
        acknowledged = [letter for letter in last if letter][-1]
        count = sum(1 for _ in database.storage.transactions())
        assert count >= 2 + len([letter for letter in last if letter])
        assert acknowledged in "ab"
        assert database.root["basket"]["a"] == 1


# -- objects without their class ----------------------------------------------------------------


def test_the_state_of_a_broken_object_can_be_read(stored):
    with fresh(stored) as database:
        second = database.root["second"]

        assert second.total == 2
        assert list(vars(second)) == ["total", "lines", "other"]
        assert vars(second)["total"] == 2
        assert second.lines[0] == 2
        assert second.other is database.root["cart"]
        assert vars(second.other)["total"] == 1
        assert getattr(second, "nothing", 5) == 5
        assert not hasattr(second, "pay")
        assert (second._p_oid, second._p_jar) == (2, database)
        assert second._p_serial == database.storage.tid
        assert "total" in dir(second)
        assert repr(second) == "<broken life_old.Cart oid 2>"
        assert bool(second)
        assert second == second  # noqa: PLR0124
        assert second != second.other
        assert len({second, second.other}) == 2
        check_database(database).raise_if_bad()


def test_a_broken_container_shows_its_items(stored):
    with fresh(stored) as database:
        assert vars(database.root["basket"])["_items"] == {"a": 1}


def test_what_a_broken_object_can_not_do_is_refused_by_name(stored):
    with fresh(stored) as database:
        cart, basket = database.root["cart"], database.root["basket"]
        for touch in (
            lambda: cart.pay(1),
            lambda: setattr(cart, "total", 5),
            lambda: delattr(cart, "total"),
            lambda: checkout(cart),
            lambda: basket["a"],
            lambda: basket.__setitem__("a", 2),
            lambda: len(basket),
            lambda: list(basket),
            lambda: "a" in basket,
            cart,
            lambda: cart < basket,
            lambda: __import__("copy").copy(cart),
            lambda: __import__("pickle").dumps(cart),
            type(cart)._p_faces.plain,
        ):
            with pytest.raises(UnloadedClassError, match="life_old"):
                touch()
        with pytest.raises(BrokenObjectError, match="the stored state has no 'pay'"):
            cart.pay()
        with pytest.raises((SharedValueError, TypeError)):
            cart.lines.append(1)
        vars(cart)["total"] = 100
        assert cart.total == 1


def test_special_methods_work_once_the_class_is_there(stored, modules):
    with fresh(stored) as database:
        basket = database.root["basket"]
        copy = database.root["second"]
        with pytest.raises(UnloadedClassError):
            len(basket)

        old = modules("life_old", OLD)

        assert len(basket) == 1
        assert type(basket) is old.Basket
        assert copy == copy  # noqa: PLR0124
        assert type(copy) is old.Cart


@pytest.mark.parametrize(
    "touch",
    [
        len,
        list,
        bool,
        repr,
        hash,
        vars,
        lambda b: b["a"],
        lambda b: "a" in b,
        lambda b: b == {"a": 1},
    ],
)
def test_every_touch_makes_whole(stored, modules, touch):
    with fresh(stored) as database:
        basket = database.root["basket"]
        modules("life_old", OLD)
        if touch is hash:
            with pytest.raises(TypeError, match="unhashable"):
                hash(basket)
        else:
            assert touch(basket)
        assert basket["a"] == 1


def test_a_broken_object_is_moved_and_whole_again_later(stored, modules):
    with fresh(stored) as database:
        root = database.root
        checkout(root)
        root["moved"] = PersistentDict(cart=root["cart"], all=[root["second"], root["inner"]])
        del root["cart"]
        database.transaction_manager.commit()
        assert root["moved"]["cart"].total == 1
        check_database(database).raise_if_bad()
    old = modules("life_old", OLD)
    with fresh(stored) as database:
        moved = database.root["moved"]
        assert moved["cart"].pay() == "paid 1"
        assert type(moved["cart"]) is old.Cart
        assert moved["all"][0].other is moved["cart"]


def test_the_bytes_of_a_broken_object_stay_what_they_are(stored, modules):
    with fresh(stored) as database:
        before = {oid: database.storage.load(oid) for oid in range(1, 5)}
        root = database.root
        for obj in (root["cart"], root["second"], root["basket"], root["inner"]):
            vars(obj)
            with pytest.raises(UnloadedClassError):
                checkout(obj)
        checkout(root)
        root["again"] = [root["cart"], root["second"]]
        database.transaction_manager.commit()
        database.migrate(Persistent)
        assert {oid: database.storage.load(oid) for oid in range(1, 5)} == before


def test_a_broken_object_shows_the_snapshot_of_its_reader(stored, modules):
    with fresh(stored) as database:
        cart = database.root["cart"]
        in_process(
            stored,
            modules,
            "c = db.root['cart']; checkout(c); c.total = 100; transaction.commit()",
        )
        assert cart.total == 1
        serial = cart._p_serial
        database.transaction_manager.begin()
        assert cart.total == 100
        assert cart._p_serial > serial
        modules("life_old", OLD)
        in_process(
            stored,
            modules,
            "c = db.root['cart']; checkout(c); c.total = 200; transaction.commit()",
        )
        assert cart.total == 100
        database.transaction_manager.begin()
        assert cart.pay() == "paid 200"


def test_a_broken_object_that_changes_while_an_older_snapshot_reads_it(stored, modules):
    with fresh(stored) as database:
        cart = database.root["cart"]
        in_process(
            stored,
            modules,
            "c = db.root['cart']; checkout(c); c.total = 100; transaction.commit()",
        )
        assert in_thread(lambda: newest(database, cart)) == 100
        assert cart.total == 1
        modules("life_old", OLD)
        assert cart.total == 1
        assert cart.pay() == "paid 1"
        assert in_thread(lambda: newest(database, cart)) == 100
        database.transaction_manager.begin()
        assert cart.pay() == "paid 100"


def newest(database, cart):
    database._store.publisher.catch_up()
    return cart.total


def test_threads_make_a_broken_object_whole_at_once(stored, modules):
    with fresh(stored) as database:
        carts = [database.root["cart"], database.root["second"]]
        stop = threading.Event()
        wrong = []

        def read():
            while not stop.is_set():
                for number, cart in enumerate(carts, 1):
                    if cart.total != number or vars(cart)["total"] != number:
                        wrong.append(cart)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        old = modules("life_old", OLD)
        while not all(type(cart) is old.Cart for cart in carts):
            pass
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong


# -- versions -------------------------------------------------------------------------------


V0 = """
from dobbin_like import Persistent

class Account(Persistent):
    def __init__(self, name="", balance=0):
        self.name = name
        self.balance = balance
        self.log = [1, {"a": [2]}]
"""

V2 = """
from dobbin_like import Persistent, PersistentList

calls = []

class Account(Persistent):
    _p_version = 2

    def __init__(self, name="", cents=0):
        self.first = name
        self.cents = cents
        self.log = []

    @staticmethod
    def _p_migrate(state, version):
        calls.append(version)
        if version < 1:
            state["cents"] = 100 * state.pop("balance")
        if version < 2:
            state["first"] = state.pop("name")
        return state

class Savings(Account):
    pass
"""


def accounts(database, module, count=3):
    database.set_root(
        PersistentDict(
            {n: module.Account(f"n{n}", n) for n in range(count)}, other=PersistentDict()
        )
    )
    database.transaction_manager.commit()
    return database.root


@pytest.fixture
def v0(path, modules):
    """A log with accounts of version 0."""
    module = modules("life_bank", V0)
    with fresh(path) as database:
        accounts(database, module)
    return path


@pytest.fixture
def v2(v0, modules):
    return modules("life_bank", V2)


def test_old_states_are_of_the_new_version_when_they_are_read(v0, v2):
    with fresh(v0) as database:
        account = database.root[2]

        assert (account.first, account.cents) == ("n2", 200)
        assert list(vars(account)) == ["log", "cents", "first"]
        assert v2.calls == [0]
        assert database.root[2].first == "n2"
        assert v2.calls == [0]  # once for a state in memory
        check_database(database).raise_if_bad()


def test_the_version_is_stored_and_nobody_sees_it(v0, v2):
    with fresh(v0) as database:
        account = database.root[1]
        checkout(account)
        account.cents = 5
        database.transaction_manager.commit()
        v2.calls.clear()
        assert "_p_version" not in vars(account)
        check_database(database).raise_if_bad()
    with fresh(v0) as database:
        account = database.root[1]
        assert vars(account) == {"first": "n1", "cents": 5, "log": [1, {"a": [2]}]}
        assert v2.calls == []
        assert account._p_version == 2
        shape = database.storage.names.shape(database.storage.load(account._p_oid).number)
        assert shape[1][-1] == "_p_version"
        assert "_p_version" not in account.__getstate__()


def test_the_version_is_not_seen_beside_values_that_can_not_be_guarded(v0, modules):
    text = V2 + "\nclass Box:\n    pass\n"
    module = modules("life_bank", text)
    with fresh(v0, allow="life_bank.*") as database:
        account = database.root[1]
        checkout(account)
        account.box = module.Box()
        database.transaction_manager.commit()
        assert set(vars(account)) == {"cents", "first", "log", "box"}
        check_database(database).raise_if_bad()


def test_reading_alone_writes_nothing(v0, v2):
    with fresh(v0) as database:
        before = len(database.storage)
        account = database.root[1]
        checkout(account)
        assert account.cents == 100
        assert account.log == [1, {"a": [2]}]
        database.transaction_manager.commit()
        assert len(database.storage) == before


def test_an_upgraded_state_is_shared_and_guarded(v0, v2):
    with fresh(v0) as database:
        account = database.root[1]
        with pytest.raises(SharedValueError):
            account.log.append(5)
        with pytest.raises(ReadOnlyError):
            account.cents = 5
        checkout(account)
        account.log.append(5)
        assert in_thread(lambda: list(account.log)) == [1, {"a": [2]}]
        database.transaction_manager.commit()
        assert account.log == [1, {"a": [2]}, 5]


def test_an_old_snapshot_sees_the_old_state_in_the_new_version(v0, v2, modules):
    with fresh(v0) as database, fresh(v0) as other:
        account = database.root[1]
        theirs = other.root[1]
        checkout(theirs)
        theirs.cents = 777
        other.transaction_manager.commit()

        assert in_thread(lambda: newest_cents(database, account)) == 777
        assert account.cents == 100
        database.transaction_manager.begin()
        assert account.cents == 777
        versions = [
            database._store.graph.fresh(database._store.graph.cache.get(account._p_oid), tid)[
                "cents"
            ]
            for tid in (account._p_serial, account._p_serial - 1)
        ]
        assert versions == [777, 100]


def newest_cents(database, account):
    database._store.publisher.catch_up()
    return account.cents


def test_the_past_is_read_in_the_new_version(v0, v2):
    with fresh(v0) as database:
        past = database.storage.tid
        account = database.root[1]
        checkout(account)
        account.cents = 777
        database.transaction_manager.commit()
        with database.at(past) as then:
            assert then.root[1].cents == 100
            assert then.root[1].first == "n1"


def test_conflicts_are_resolved_in_the_new_version(v0, modules):
    text = (
        V2
        + """
    @staticmethod
    def _p_resolve_conflict(old, saved, new):
        return {**saved, "cents": saved["cents"] + new["cents"] - old["cents"]}
"""
    )
    text = text.replace("class Savings(Account):\n    pass\n", "")
    modules("life_bank", text)
    with fresh(v0) as database, fresh(v0) as other:
        mine, theirs = database.root[1], other.root[1]
        checkout(mine)
        checkout(theirs)
        mine.cents += 1
        theirs.cents += 10
        other.transaction_manager.commit()
        database.transaction_manager.commit()
        assert mine.cents == 111


def test_a_class_method_and_inherited_versions(v0, modules):
    text = """
    from dobbin_like import Persistent
    class Base(Persistent):
        _p_version = 1
        @classmethod
        def _p_migrate(cls, state, version):
            return {**state, "kind": (cls.__name__, version)}
    class Account(Base):
        pass
    """
    modules("life_bank", text)
    with fresh(v0) as database:
        assert database.root[1].kind == ("Account", 0)


def test_a_newer_state_than_the_class_is_refused_at_the_touch(v0, v2, modules):
    with fresh(v0) as database:
        checkout(database.root[1])
        database.root[1].cents = 5
        database.transaction_manager.commit()
    for text, version in ((V2.replace("_p_version = 2", "_p_version = 1"), 1), (V0, 0)):
        modules("life_bank", text)
        with fresh(v0) as database:
            account = database.root[1]
            for _ in range(2):
                with pytest.raises(NewerStateError) as e:
                    _ = account.name
                assert (e.value.class_name, e.value.oid) == ("Account", account._p_oid)
                assert (e.value.found, e.value.expected) == (2, version)
            with pytest.raises(NewerStateError):
                checkout(account)
            assert type(account) is type(account)._p_faces.ghost
            check_database(database).raise_if_bad()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return state['none']", "KeyError: 'none'"),
        ("return None", "it returned None, expected the state"),
        ("return {1: 2}", "it returned {1: 2}, expected the state"),
        ("return {'a': lambda: 0}", "lambda"),
        ("return {'a': [PersistentList()]}", "it makes persistent objects"),
    ],
)
def test_an_upgrade_that_fails_names_object_and_versions(v0, modules, body, reason):
    text = f"""
    from dobbin_like import Persistent, PersistentList
    class Account(Persistent):
        _p_version = 3
        @staticmethod
        def _p_migrate(state, version):
            {body}
    """
    modules("life_bank", text)
    with fresh(v0) as database:
        account = database.root[1]
        before = len(database.storage)
        for _ in range(2):
            with pytest.raises(MigrationError) as e:
                _ = account.name
            assert reason in str(e.value)
            assert (e.value.class_name, e.value.oid) == ("Account", account._p_oid)
            assert (e.value.found, e.value.expected) == (0, 3)
        assert type(account) is type(account)._p_faces.ghost
        if "makes persistent" not in reason:
            with pytest.raises((MigrationError, NotStorableError)):
                database.migrate(type(account)._p_faces.plain)
            assert len(database.storage) == before
        check_database(database).raise_if_bad()


def test_a_version_without_an_upgrade_is_refused_for_old_states_only(v0, modules):
    text = "from dobbin_like import Persistent\nclass Account(Persistent):\n    _p_version = 1\n"
    module = modules("life_bank", text)
    with fresh(v0) as database:
        with pytest.raises(MigrationError, match="the class has no _p_migrate"):
            _ = database.root[1].name
        checkout(database.root)
        database.root["new"] = module.Account()
        database.transaction_manager.commit()
    with fresh(v0) as database:
        assert vars(database.root["new"]) == {}


def test_what_a_version_can_not_be_is_refused_where_the_class_is_made():
    for version in ("1", 1.5, True, -1, None):
        with pytest.raises(ClassNotSupported, match="_p_version is"):
            type("Bad", (Persistent,), {"_p_version": version})
    with pytest.raises(ClassNotSupported, match="make it a static or class method"):
        type("Bad", (Persistent,), {"_p_migrate": lambda state, version: state})


def test_an_object_can_not_have_a_version_of_its_own(database):
    root = PersistentDict()
    checkout(root)
    root._p_version = 5
    database.set_root(root)
    with pytest.raises(NotStorableError, match="_p_version is an attribute of the class"):
        transaction.commit()
    transaction.abort()


def test_values_that_are_changed_in_place_are_nobody_elses(v0, modules):
    """What an upgrade puts into many states is copied for each."""
    text = """
    from dobbin_like import Persistent
    class Box:
        pass
    DEFAULT = Box()
    class Account(Persistent):
        _p_version = 1
        @staticmethod
        def _p_migrate(state, version):
            return {**state, "box": DEFAULT}
    """
    module = modules("life_bank", text)
    with fresh(v0, allow="life_bank.*") as database:
        first, second = database.root[0].box, database.root[1].box
        assert type(first) is module.Box
        assert first is not second
        assert first is not module.DEFAULT


def test_versions_of_renamed_classes(v0, modules):
    module = modules("life_bank2", V2)
    modules.remove("life_bank")
    with fresh(v0) as database:
        database.rename_class("life_bank.Account", "life_bank2.Savings")
        assert database.root[1].cents == 100
        assert type(database.root[1]) is module.Savings


def test_a_broken_object_hides_its_version_and_keeps_it(v0, v2, modules):
    with fresh(v0) as database:
        checkout(database.root[1])
        database.root[1].cents = 5
        database.transaction_manager.commit()
    modules.forget("life_bank")
    with fresh(v0) as database:
        account = database.root[1]
        assert set(vars(account)) == {"first", "cents", "log"}
    v2 = modules("life_bank", V2)
    with fresh(v0) as database:
        assert database.root[1].cents == 5
        assert v2.calls == []


# -- migrate -------------------------------------------------------------------------------


def test_migrate_stores_what_is_old_and_nothing_else(v0, v2):
    with fresh(v0) as database:
        checkout(database.root[1])
        database.root[1].cents = 5
        database.transaction_manager.commit()
        serial = database.root[1]._p_serial

        assert database.migrate(v2.Account) == 2

        assert database.root[1]._p_serial == serial
        assert database.migrate(v2.Account) == 0
        check_database(database).raise_if_bad()
    v2.calls.clear()
    with fresh(v0) as database:
        assert [database.root[n].cents for n in range(3)] == [0, 5, 200]
        assert [database.root[n].first for n in range(3)] == ["n0", "n1", "n2"]
        assert v2.calls == []


def test_each_batch_is_a_transaction_and_progress_is_told(path, modules):
    module = modules("life_bank", V0)
    with fresh(path) as database:
        accounts(database, module, 25)
    v2 = modules("life_bank", V2)
    with fresh(path) as database:
        before = len(database.storage)
        told = []

        assert database.migrate(v2.Account, progress=lambda *it: told.append(it), batch=10) == 25

        assert len(database.storage) == before + 3
        assert told == [(10, 27), (20, 27), (27, 27)]
        *_, logged = database.storage.transactions()
        assert logged.description == "migrate Account"
        check_database(database).raise_if_bad()


def test_subclasses_are_migrated_and_other_classes_are_not(v0, modules):
    text = V0 + "\nclass Savings(Account):\n    pass\nclass Other(Persistent):\n    x = 1\n"
    module = modules("life_bank", text)
    with fresh(v0) as database:
        checkout(database.root)
        database.root["savings"] = module.Savings("s", 4)
        database.root["other"] = module.Other()
        database.transaction_manager.commit()
    module = modules("life_bank", V2 + "\nclass Other(Account):\n    pass\n")
    with fresh(v0) as database:
        assert database.migrate(module.Savings) == 1
        assert database.root["savings"].cents == 400
        assert database.migrate(PersistentDict) == 0


def test_objects_in_memory_show_the_new_version(v0, modules):
    v0_module = sys.modules["life_bank"]
    with fresh(v0) as database:
        account = database.root[1]
        assert account.name == "n1"
        assert type(account) is v0_module.Account
        out = in_process(
            v0, modules_with(modules, V2), "import life_bank; print(db.migrate(life_bank.Account))"
        )
        assert out == "3\n"
        assert account.name == "n1"  # this program's class is that of before
        database.transaction_manager.begin()
        with pytest.raises(NewerStateError):
            _ = account.name


def modules_with(modules, text):
    (modules.folder / "life_bank.py").write_text(text)
    return modules


def test_migrate_leaves_the_transaction_of_the_thread_alone(v0, v2):
    with fresh(v0) as database:
        root, account = database.root, database.root[1]
        checkout(root["other"], account)
        root["other"]["mine"] = 1
        account.cents = 9
        serial = root[2]._p_serial

        assert database.migrate(v2.Account) == 3

        assert root[2]._p_serial == serial
        assert account.cents == 9
        with pytest.raises(ConflictError):  # it was stored anew meanwhile
            database.transaction_manager.commit()
        database.transaction_manager.abort()
        assert account.cents == 100
        checkout(root["other"])
        root["other"]["mine"] = 1
        database.transaction_manager.commit()
        check_database(database).raise_if_bad()


def test_an_upgrade_may_make_persistent_objects_when_it_is_stored(v0, modules):
    text = """
    from dobbin_like import Persistent, PersistentList
    class Account(Persistent):
        _p_version = 1
        @staticmethod
        def _p_migrate(state, version):
            log = PersistentList(state["log"])
            return {**state, "log": log, "logs": [log]}
    """
    module = modules("life_bank", text)
    with fresh(v0) as database:
        account = database.root[1]
        with pytest.raises(MigrationError, match=r"run database.migrate\(Account\)"):
            _ = account.log
        count = len(database)

        assert database.migrate(module.Account) == 3

        database.transaction_manager.begin()
        assert len(database) == count + 3
        assert list(account.log) == [1, {"a": [2]}]
        assert account.logs[0] is account.log
        assert account.log._p_oid >= count
        check_database(database).raise_if_bad()
        checkout(account.log)
        account.log.append(3)
        database.transaction_manager.commit()
    with fresh(v0) as database:
        assert list(database.root[1].log) == [1, {"a": [2]}, 3]


def test_a_failing_upgrade_keeps_what_is_done(path, modules):
    module = modules("life_bank", V0)
    with fresh(path) as database:
        accounts(database, module, 25)
    text = V2.replace("calls.append(version)", "assert state['name'] != 'n17', 'seventeen'")
    bad = modules("life_bank", text)
    with fresh(path) as database:
        with pytest.raises(MigrationError, match="AssertionError: seventeen"):
            database.migrate(bad.Account, batch=5)
        assert not database.storage.held
        assert len(database.storage) == 4  # the first, and three batches
        with pytest.raises(MigrationError):
            database.migrate(bad.Account, batch=5)
        assert database.root[3].cents == 300
        check_database(database).raise_if_bad()
    good = modules("life_bank", V2)
    with fresh(path) as database:
        assert database.migrate(good.Account) == 10


def test_ctrl_c_in_migrate_keeps_what_is_done_and_nothing_half(path, modules):
    module = modules("life_bank", V0)
    with fresh(path) as database:
        accounts(database, module, 6)
    v2 = modules("life_bank", V2)
    with fresh(path) as database:
        line, left = 40, True
        while left:
            line += 37
            interrupted(lambda: database.migrate(v2.Account, batch=2), line)
            assert not database.storage.held
            assert database._store.graph.classes.new == []
            left = (
                sum(b"_p_version" not in database.storage.load(oid).data for oid in range(1, 7))
                and line < 4000
            )
        assert database.migrate(v2.Account) == 0
        assert [database.root[n].cents for n in range(6)] == [0, 100, 200, 300, 400, 500]
        check_database(database).raise_if_bad()


def test_ctrl_c_after_the_decision_keeps_new_classes(v0, modules, monkeypatch):
    text = """
    from dobbin_like import Persistent
    class Purse(Persistent):
        def __init__(self, cents=0):
            self.cents = cents
    class Coin(Persistent):
        pass
    class Account(Persistent):
        _p_version = 1
        @staticmethod
        def _p_migrate(state, version):
            return {**state, "purse": Purse(100 * state["balance"])}
    """
    module = modules("life_bank", text)
    with fresh(v0) as database:
        publish = database._store.publisher.publish_own
        calls = []

        def publish_and_interrupt(*args, **options):
            publish(*args, **options)
            calls.append(args)
            if len(calls) == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(database._store.publisher, "publish_own", publish_and_interrupt)
            with pytest.raises(KeyboardInterrupt):
                database.migrate(module.Account)
        assert database._store.graph.classes.new == []
        database.transaction_manager.begin()
        root = database.root
        assert [root[n].purse.cents for n in range(3)] == [0, 100, 200]
        checkout(root)
        root["coin"], root["purse"] = module.Coin(), module.Purse(7)
        database.transaction_manager.commit()
        check_database(database).raise_if_bad()
    with fresh(v0) as database:
        assert type_of(database.root["coin"]) is module.Coin
        assert type_of(database.root["purse"]) is module.Purse
        assert database.root[1].purse.cents == 100
        assert database.migrate(module.Account) == 0


def test_migrate_while_others_change_the_objects(path, modules):
    module = modules("life_bank", V0)
    with fresh(path) as database:
        accounts(database, module, 40)
    v2 = modules("life_bank", V2)
    added = []
    with fresh(path) as database:
        stop = threading.Event()

        def write(number):
            with fresh(path) as other:
                manager = other.transaction_manager
                n = number
                while not stop.is_set():
                    n = (n + 7) % 40
                    try:
                        manager.begin()
                        account = other.root[n]
                        checkout(account)
                        account.cents += 1
                        manager.commit()
                        added.append(n)
                    except ConflictError:
                        manager.abort()

        threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        rewritten = database.migrate(v2.Account, batch=3)
        stop.set()
        for thread in threads:
            thread.join()
        database.transaction_manager.begin()
        assert rewritten <= 40
        for n in range(40):
            assert database.root[n].cents == 100 * n + added.count(n)
        assert database.migrate(v2.Account) == 0
        check_database(database).raise_if_bad()


def test_what_can_not_be_migrated_is_refused(v0, v2):
    with fresh(v0) as database:
        for wrong in (int, "life_bank.Account", None, v2.Account()):
            with pytest.raises(NotPersistentError):
                database.migrate(wrong)
        for batch in (0, -1):
            with pytest.raises(ValueError, match="the number of objects in a transaction"):
                database.migrate(v2.Account, batch=batch)
        database.storage.acquire()
        try:
            with pytest.raises(SelfWaitError):
                database.migrate(v2.Account)
        finally:
            database.storage.release()
    with (
        Database(TransactionLog(v0, read_only=True)) as database,
        pytest.raises(ReadOnlyStorageError),
    ):
        database.migrate(v2.Account)
