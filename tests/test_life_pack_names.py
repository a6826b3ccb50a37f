"""A pack drops the names that nothing has any more, and no number is given twice."""

from __future__ import annotations

import enum
import itertools
import random
import subprocess
import sys
from collections import UserDict
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, MemoryLog, Persistent, PersistentDict, checkout
from dobbin_like.check import check_log
from dobbin_like.name_tables import NameTables
from dobbin_like.upkeep import pack_copy
from tests.helpers.interrupts import interrupted
from tests.helpers.processes import python_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Thing(Persistent):
    """An object that is given attributes."""


class Secret(Persistent):
    """An object of a class that nothing has after a while."""


class Third(Persistent):
    """An object of a class that comes late."""


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Bag(UserDict[str, int]):
    """A value of a class of the program."""


ALLOW = [f"{__name__}.Bag"]


@pytest.fixture
def root(database: Database) -> PersistentDict[str, Any]:
    root: PersistentDict[str, Any] = PersistentDict()
    database.set_root(root)
    transaction.commit()
    return root


def put(root: Any, key: str, value: Any) -> Any:
    transaction.begin()
    checkout(root)
    root[key] = value
    transaction.commit()
    return value


def remove(root: Any, *keys: str) -> None:
    transaction.begin()
    checkout(root)
    for key in keys:
        del root[key]
    transaction.commit()


def made(cls: Any = Thing, **attributes: Any) -> Any:
    made = cls()
    checkout(made)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def fresh(path: Path, text: str) -> str:
    """Return what another process prints, which has *root*; each class of here is ``here.``."""
    program = (
        f"import transaction, tests.test_life_pack_names as here\n"
        f"from dobbin_like import Database, checkout\n"
        f"with Database({str(path)!r}, allow={ALLOW}) as db:\n"
        f"    root = db.root\n    {text}\n    transaction.commit()"
    )
    command = [sys.executable, "-c", program]
    return subprocess.check_output(command, env=python_path(), text=True).strip()


def test_names_that_nothing_has_are_gone(database: Database, root: Any, path: Path) -> None:
    put(root, "stays", made(stays_too=1))
    put(root, "goes", made(Secret, salary=2))
    remove(root, "goes")
    assert b"salary" in path.read_bytes()

    assert database.pack().packed

    assert b"salary" not in path.read_bytes()
    assert b"Secret" not in path.read_bytes()
    assert b"stays_too" in path.read_bytes()
    assert fresh(path, "print(root['stays'].stays_too)") == "1"
    check_log(path).raise_if_bad()


def test_a_name_that_an_older_version_had_is_gone_unless_that_is_kept(
    database: Database, root: Any, path: Path
) -> None:
    thing = put(root, "thing", made(salary=2))
    tid = thing._p_serial
    transaction.begin()
    checkout(thing)
    del thing.salary
    transaction.commit()

    database.pack(keep=tid)
    assert b"salary" in path.read_bytes()
    with database.at(tid) as past:
        assert past.root["thing"].salary == 2

    database.pack()
    assert b"salary" not in path.read_bytes()


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1.5"),
        Fraction(1, 3),
        Colour.RED,
        [Colour.BLUE],
        Thing,
        {"a": Bag(b=2)},
        {Decimal(2)},
    ],
    ids=repr,
)
def test_classes_of_values_stay_as_long_as_a_value_has_them(
    again: Callable[..., Database], path: Path, value: Any
) -> None:
    with Database(path, allow=ALLOW) as database:
        root = PersistentDict(value=value)
        database.set_root(root)
        transaction.commit()
        put(root, "goes", made(Secret, salary=value))
        remove(root, "goes")
        assert database.pack().packed

    assert b"Secret" not in path.read_bytes()
    assert again(allow=ALLOW).root["value"] == value
    check_log(path).raise_if_bad()


def test_names_in_the_versions_that_deltas_change_stay(
    again: Callable[..., Database], path: Path
) -> None:
    with Database(path, allow=ALLOW) as database:
        items = {str(number): number for number in range(500)}
        root: Any = PersistentDict(items, first=Colour.RED, second=Decimal(1))
        database.set_root(root)
        transaction.commit()
        put(root, "third", Fraction(1, 2))
        remove(root, "first")
        assert database.pack().packed
        put(root, "fourth", Bag(a=1))
        assert database.pack().packed

    there = again(allow=ALLOW).root
    assert (there["second"], there["third"], there["fourth"]) == (1, Fraction(1, 2), Bag(a=1))
    assert len(there) == 503
    check_log(path).raise_if_bad()


def test_who_follows_gives_new_numbers_to_what_comes_again(
    database: Database, root: Any, path: Path
) -> None:
    put(root, "goes", made(Secret, salary=2))
    remove(root, "goes")
    before = database.storage.names.next_number
    assert database.pack().packed
    assert database.storage.names.class_number(Secret.__module__, "Secret") is None

    put(root, "comes", made(Secret, salary=3))
    put(root, "another", made(Third, wage=4))

    assert database.storage.names.class_number(Secret.__module__, "Secret") >= before
    printed = fresh(path, "print(root['comes'].salary, root['another'].wage)")
    assert printed == "3 4"
    check_log(path).raise_if_bad()


def test_a_number_that_another_instance_remembers_is_not_given_again(
    database: Database, root: Any, path: Path, again: Callable[..., Database]
) -> None:
    """Its older snapshot would show an object of the wrong class."""
    secret = put(root, "goes", made(Secret, salary=2))
    reader = again()
    reader.transaction_manager.begin()
    assert type(reader.root["goes"]).__name__ == "Secret"
    remove(root, "goes")
    assert database.pack().packed
    database.close()
    del secret

    # By one that has never heard of it.
    fresh(path, "checkout(root); root['comes'] = here.made(here.Third, wage=4)")

    assert reader.root["goes"].salary == 2
    reader.transaction_manager.begin()
    assert reader.root["comes"].wage == 4
    assert type(reader.root["comes"]).__name__ == "Third"
    assert "goes" not in reader.root
    check_log(path).raise_if_bad()


def test_two_instances_that_store_a_dropped_name_again_agree(
    database: Database, root: Any, path: Path, again: Callable[..., Database]
) -> None:
    put(root, "goes", made(Secret, salary=2))
    other = again()
    other.transaction_manager.begin()
    assert other.root["goes"].salary == 2
    remove(root, "goes")
    other.transaction_manager.begin()
    database.pack()

    put(root, "one", made(Secret, salary=1))
    with other.transaction() as theirs:
        checkout(theirs)
        theirs["two"] = made(Secret, salary=2)

    transaction.begin()
    assert (root["one"].salary, root["two"].salary) == (1, 2)
    assert fresh(path, "print(root['one'].salary, root['two'].salary)") == "1 2"
    check_log(path).raise_if_bad()


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["dobbin_like.name_tables", "dobbin_like.log.reading", "dobbin_like.objects.codec.classes"],
)
def test_who_is_interrupted_while_following_stores_no_dropped_name(
    database: Database, root: Any, path: Path, again: Callable[..., Database], module: str
) -> None:
    other = again()
    there = other.transaction_manager

    def again_by_the_other(number: int) -> None:
        there.begin()
        checkout(other.root)
        other.root[f"comes {number}"] = made(Secret, salary=number)
        there.commit()

    again_by_the_other(0)
    was_interrupted = True
    for number in itertools.count(1):
        if not was_interrupted:
            break
        transaction.begin()
        remove(root, *[key for key in root if key.startswith("comes")])
        assert database.pack().packed
        was_interrupted = interrupted(lambda at=number: again_by_the_other(at), number, module)
        there.abort()
        again_by_the_other(number)
        check_log(path).raise_if_bad()
    assert number > 7
    transaction.begin()
    assert [root[key].salary for key in root if key.startswith("comes")] != []


def test_an_object_that_is_taken_up_again_has_its_name_again(
    database: Database, root: Any, path: Path
) -> None:
    secret = put(root, "goes", made(Secret, salary=2))
    remove(root, "goes")
    assert database.pack().dropped.objects == 1

    put(root, "back", secret)

    assert fresh(path, "print(root['back'].salary, type(root['back']).__name__)") == "2 Secret"
    check_log(path).raise_if_bad()


def test_values_whose_classes_are_missing_are_taken_up_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(path, allow=ALLOW) as database:
        database.set_root(PersistentDict(goes=made(Secret, salary=[Bag(a=1), Colour.RED])))
        transaction.commit()
    kept = {name: globals()[name] for name in ("Bag", "Colour")}
    for name in kept:
        monkeypatch.delitem(globals(), name)
    with Database(path, allow=ALLOW) as reopened:
        root = reopened.root
        taken = root["goes"]
        assert len(taken.salary) == 2
        remove(root, "goes")
        assert reopened.pack().dropped.objects == 1
        assert b"Bag" not in path.read_bytes()
        put(root, "back", taken)
    monkeypatch.undo()

    assert fresh(path, "print(root['back'].salary)") == "[{'a': 1}, <Colour.RED: 1>]"
    check_log(path).raise_if_bad()


@pytest.mark.parametrize("again_and_again", [False, True])
def test_a_name_that_is_used_again_meanwhile_is_kept(
    database: Database,
    root: Any,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    again_and_again: bool,
) -> None:
    """Whoever commits during the pack has the names of the old file."""
    names = [f"salary_{number}" for number in range(10)]
    for name in names:
        put(root, name, made(Secret, **{name: 2}))
    remove(root, *names)
    attempts = 0
    catch_up = pack_copy.PackCopy.catch_up

    def used_again(self: Any) -> None:
        nonlocal attempts
        if again_and_again or not attempts:
            put(root, "comes", made(Secret, **{names[attempts]: 3}))
        attempts += 1
        catch_up(self)

    monkeypatch.setattr(pack_copy.PackCopy, "catch_up", used_again)
    assert database.pack().packed

    assert attempts == (5 if again_and_again else 2)
    name = names[attempts - 1 if again_and_again else 0]
    assert fresh(path, f"print(root['comes'].{name})") == "3"
    check_log(path).raise_if_bad()


def test_a_shape_that_is_new_meanwhile_finds_its_class(
    database: Database, root: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, "goes", made(Secret, salary=2))
    remove(root, "goes")
    catch_up = pack_copy.PackCopy.catch_up

    def used_again(self: Any) -> None:
        put(root, "nothing", [])
        if "comes" not in root:
            put(root, "comes", made(Secret, wage=3))
        catch_up(self)

    monkeypatch.setattr(pack_copy.PackCopy, "catch_up", used_again)
    assert database.pack().packed

    assert b"salary" not in path.read_bytes()
    assert fresh(path, "print(root['comes'].wage)") == "3"
    check_log(path).raise_if_bad()


def class_number(database: Database, cls: type) -> int | None:
    return database.storage.names.class_number(cls.__module__, cls.__qualname__)


@pytest.mark.parametrize("late", [False, True], ids=["before", "while it is packed"])
def test_a_class_that_an_index_is_over_stays_and_others_go(
    database: Database, root: Any, again: Callable[..., Database], late: bool
) -> None:
    """By its number, the index finds the class after it was renamed."""
    put(root, "goes", made(Secret, salary=2))
    put(root, "too", made(Third, salary=2))
    if not late:
        database.index(Secret, "salary")
    remove(root, "goes", "too")
    other = again()

    def index_when_marked(done: int, total: int) -> None:
        if late and done >= total // 2 and not other.indexes():
            other.index(Secret, "salary")

    database.pack(progress=index_when_marked)
    assert other.indexes()
    if late:
        database.pack()

    transaction.begin()
    assert class_number(database, Secret) is not None
    assert class_number(database, Third) is None
    put(root, "again", made(Secret, salary=3))
    assert list(database.find(Secret, salary=3)) == [root["again"]]

    remove(root, "again")
    database.drop_index(Secret, "salary")
    database.pack()
    assert class_number(database, Secret) is None


def test_an_index_over_a_renamed_class_without_objects_is_over_it_after_a_pack(
    database: Database, root: Any, path: Path
) -> None:
    put(root, "goes", made(Secret, salary=2))
    database.index(Secret, "salary")
    remove(root, "goes")
    database.rename_class(Secret, Third)
    database.pack()
    copy = path.with_name("copy.log")
    database.snapshot(copy)
    database.close()

    for where in (path, copy):
        with Database(where) as opened:
            later = put(opened.root, "again", made(Third, salary=3))
            assert list(opened.find(Third, salary=3)) == [later]
        check_log(where).raise_if_bad()


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_stored_and_dropped_all_is_read(
    again: Callable[..., Database], path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    classes = [Thing, Secret, Third]
    values: list[Any] = [1, "text", Decimal(1), Fraction(1, 2), Colour.RED, Bag(a=1), None]

    def value() -> Any:
        one = chance.choice(values)
        return chance.choice([one, [one, chance.choice(values)], {"k": one}])

    known: dict[str, Any] = {}
    with Database(path, allow=ALLOW) as database:
        root: Any = PersistentDict({str(n): n for n in range(200)} if seed % 2 else {})
        database.set_root(root)
        transaction.commit()
        other = again(allow=ALLOW)
        for step in range(30):
            key = f"key {chance.randrange(5)}"
            if chance.random() < 0.3:
                if key in root:
                    remove(root, key)
                    del known[key]
            else:
                name = f"name_{chance.randrange(8)}"
                cls, given = chance.choice(classes), value()
                manager = chance.choice([transaction.manager, other.transaction_manager])
                there = root if manager is transaction.manager else other.root
                manager.begin()
                checkout(there)
                if chance.random() < 0.3:
                    there[key] = given
                    known[key] = (None, given)
                else:
                    there[key] = made(cls, **{name: given})
                    known[key] = (cls, {name: given})
                manager.commit()
                transaction.begin()
            if step % 6 == 5:
                database.pack()
                check_log(path).raise_if_bad()
                assert_same(again(allow=ALLOW).root, known)
                transaction.begin()
                assert_same(root, known)


def assert_same(root: Any, known: dict[str, Any]) -> None:
    assert {key for key in root if key.startswith("key ")} == set(known)
    for key, (cls, content) in known.items():
        if cls is None:
            assert root[key] == content
        else:
            assert isinstance(root[key], cls)
            assert {name: getattr(root[key], name) for name in content} == content


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_snapshot_has_the_names_that_something_in_it_has(
    database: Database, root: Any, path: Path, where: str
) -> None:
    put(root, "stays", made(stays_too=[Decimal(1), Colour.RED]))
    put(root, "goes", made(Secret, salary=2))
    remove(root, "goes")
    target: Any = MemoryLog() if where == "memory" else path.with_name("copy")

    database.snapshot(target)

    manager = transaction.TransactionManager()
    with Database(target, transaction_manager=manager) as copy:
        assert copy.root["stays"].stays_too == [Decimal(1), Colour.RED]
        names = copy.storage.names
        assert names.class_number(Secret.__module__, "Secret") is None
        with copy.transaction() as there:
            checkout(there)
            there["comes"] = made(Secret, salary=3)
        assert names.class_number(Secret.__module__, "Secret") > names.class_number(
            "decimal", "Decimal"
        )
    if where == "file":
        check_log(target).raise_if_bad()


# -- the tables -----------------------------------------------------------------------------


def test_what_is_dropped_is_found_by_its_number_alone() -> None:
    names = NameTables([(1, "a", "A"), (3, "a", "B")], [(2, 1, ("x",)), (4, 3, ("y",))])

    names.leave_only({1, 2})

    assert names.rows() == (((1, "a", "A"),), ((2, 1, ("x",)), (4, 0, ())))
    assert (names.class_number("a", "B"), names.shape_number(3, ("y",))) == (None, None)
    assert (names.class_name(3), names.shape(4)) == (("a", "B"), (3, ("y",)))
    assert (names.shape_count(3), names.next_number, names.forgotten) == (0, 5, 2)
    assert names.numbers() == {1, 2}


def test_the_last_number_is_told_without_its_name() -> None:
    names = NameTables([(1, "a", "A"), (2, "a", "B")])
    names.leave_only({1})

    copy = NameTables(*names.rows())

    assert copy.next_number == 3
    assert (copy.class_name(2), copy.shape(2)) == (None, None)
    assert copy.rows() == names.rows()
    copy.update([(3, "a", "C")])
    assert copy.rows() == (((1, "a", "A"), (3, "a", "C")), ())


def test_what_was_dropped_may_come_again_by_its_number() -> None:
    names = NameTables([(1, "a", "A"), (2, "a", "B")])
    names.leave_only({1})
    names.update([(2, "a", "B")])

    assert names.class_number("a", "B") == 2
    assert names.rows().classes == ((1, "a", "A"), (2, "a", "B"))
