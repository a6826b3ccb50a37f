"""Keys and members whose hash needs the object that holds them."""

from __future__ import annotations

import builtins
import dataclasses
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
import transaction

from dobbin_like import Database, Persistent, PersistentDict, PersistentSet, checkout
from dobbin_like.check import check_database
from dobbin_like.exc import ReadCycleError, ValueNotRebuiltError
from tests.helpers.steps import in_thread

TIMEOUT_SECONDS = 60


class Company(Persistent):
    def __init__(self, name: str) -> None:
        self.name = name
        self.codes = [name, name]
        self.holds: Any = None

    @property
    def title(self) -> str:
        return f"the {self.name}"

    def code(self) -> str:
        return self.codes[1]


class Person(Persistent):
    need = staticmethod(lambda company: company.name)

    def __init__(self, name: str, company: Any) -> None:
        self.name, self.company = name, company

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Person) and (self.name, Person.need(self.company)) == (
            other.name,
            Person.need(other.company),
        )

    def __hash__(self) -> int:
        return hash((self.name, Person.need(self.company)))


@dataclasses.dataclass(frozen=True)
class Role:
    person: Person
    title: str = "boss"


HOLD = {
    "set": lambda people: {*people},
    "dict": lambda people: dict.fromkeys(people, 1),
    "frozenset": frozenset,
    "deep": lambda people: [1, ({"a": {*people}},)],
    "deque": lambda people: deque([{*people}]),
    "namespace": lambda people: SimpleNamespace(all={*people}),
    "slice": lambda people: slice({*people}),
    "pairs": lambda people: {(person, 1) for person in people},
    "roles": lambda people: {Role(person): person for person in people},
    "collection": PersistentSet,
    "large": lambda people: PersistentDict.fromkeys([*people, *range(200)]),
}
WITHIN = {
    "deep": lambda held: held[1][0]["a"],
    "deque": lambda held: held[0],
    "namespace": lambda held: held.all,
    "slice": lambda held: held.stop,
    "frozen dict": lambda held: held["a"],
    "frozen dicts": lambda held: [key["a"] for key in held],
}
if hasattr(builtins, "frozendict"):  # Python 3.15 has brought it.
    HOLD["frozen dict"] = lambda people: builtins.frozendict(
        a=builtins.frozendict.fromkeys(people)
    )
    HOLD["frozen dicts"] = lambda people: {builtins.frozendict(a=person) for person in people}


def stored(path, hold, count=3):
    company = Company("ACME")
    checkout(company)
    company.holds = HOLD[hold]([Person(f"p{n}", company) for n in range(count)])
    with Database(path) as database:
        database.set_root(PersistentDict(company=company))
        transaction.commit()


def people_in(company, hold):
    held = WITHIN.get(hold, lambda held: held)(company.holds)
    found = [getattr(key, "person", key) for key in held]
    found = [key[0] if isinstance(key, tuple) else key for key in found]
    return sorted(key.name for key in found if isinstance(key, Person))


@pytest.mark.parametrize("hold", HOLD)
def test_a_member_may_need_the_object_whose_set_it_is_in(path, hold):
    # The commit succeeded, and no other process could read any of it: RecursionError.
    stored(path, hold)
    with Database(path) as database:
        company = database.root["company"]
        assert company.name == "ACME"
        assert people_in(company, hold) == ["p0", "p1", "p2"]
        check_database(database).raise_if_bad()


@pytest.mark.parametrize("hold", HOLD)
def test_it_may_be_read_from_the_member_on_and_changed(path, hold):
    stored(path, hold)
    with Database(path) as database:
        person = next(database.instances(Person))
        assert Person(person.name, person.company) == person
        company = person.company
        checkout(company, person)
        company.codes.append("more")
        person.age = 50
        assert people_in(company, hold) == ["p0", "p1", "p2"]
        transaction.commit()
    with Database(path) as database:
        assert database.root["company"].codes == ["ACME", "ACME", "more"]
        assert people_in(database.root["company"], hold) == ["p0", "p1", "p2"]


def test_a_large_collection_may_be_needed_by_its_own_keys(path):
    class Group(PersistentDict):
        pass

    Group.__qualname__ = "Group"
    globals()["Group"] = Group
    group = Group()
    checkout(group)
    group.name = "all"
    for n in range(200):
        group[Person(f"p{n}", group)] = n
    with Database(path) as database:
        database.set_root(group)
        transaction.commit()
    for n in (200, 201):  # as deltas
        with Database(path) as database:
            checkout(database.root)
            database.root[Person(f"p{n}", database.root)] = n
            transaction.commit()
    with Database(path) as database:
        assert database.root.name == "all"
        assert len(database.root) == 202
        assert database.root[Person("p201", database.root)] == 201


def test_neighbours_may_be_keys_of_each_other(path):
    class Node(Persistent):
        def __init__(self, name):
            self.name, self.near = name, {}

        def __hash__(self):
            return hash(self.name)

        def __eq__(self, other):
            return self.name == other.name

    Node.__qualname__ = "Node"
    globals()["Node"] = Node
    nodes = [Node(n % 7) for n in range(20)]  # Some are equal.
    checkout(*nodes)
    for node in nodes:
        node.near = dict.fromkeys(nodes, node)
    with Database(path) as database:
        database.set_root(PersistentDict(nodes=nodes))
        transaction.commit()
    with Database(path) as database:
        for node in database.root["nodes"]:
            assert sorted(key.name for key in node.near) == [*range(7)]
            assert node in node.near


NEEDS = {
    "attribute": lambda company: company.name,
    "list": lambda company: company.codes[0],
    "property": lambda company: company.title,
    "method": lambda company: company.code(),
    "default": lambda company: getattr(company, "nothing", "default"),
    "isinstance": lambda company: isinstance(company, Company) and company._p_oid,
}


@pytest.mark.parametrize("need", NEEDS)
def test_a_hash_may_need_whatever_is_read_without_it(path, monkeypatch, need):
    stored(path, "set")
    monkeypatch.setattr(Person, "need", staticmethod(NEEDS[need]))
    with Database(path) as database:
        assert people_in(database.root["company"], "set") == ["p0", "p1", "p2"]
        [*people] = database.root["company"].holds
        assert all(person in database.root["company"].holds for person in people)


IMPOSSIBLE = {
    "members": (lambda company: len(company.holds), ".holds"),
    "all": (lambda company: len(vars(company)), ".holds"),
    "change": (checkout, ". of it"),
    "set": (lambda company: setattr(company, "name", "x"), ". of it"),
}


@pytest.mark.parametrize("need", IMPOSSIBLE)
def test_a_hash_that_needs_what_holds_the_member_says_so(path, monkeypatch, need):
    stored(path, "set")
    with Database(path) as database, monkeypatch.context() as patch:
        patch.setattr(Person, "need", staticmethod(IMPOSSIBLE[need][0]))
        company = database.root["company"]
        for _ in range(2):
            with pytest.raises(ReadCycleError, match=f"Company oid 1 .*{IMPOSSIBLE[need][1]}"):
                company.name  # noqa: B018
        assert type(company) is type(company)._p_faces.ghost
        patch.undo()
        assert people_in(company, "set") == ["p0", "p1", "p2"]


@dataclasses.dataclass
class Badge:
    """A value that looks at a persistent object when it is made again."""

    of: Any
    text: str = ""
    need = staticmethod(lambda company: f"{company.name} {company.codes[0]}")

    def __setstate__(self, state):
        vars(self).update(state)
        self.text = Badge.need(self.of)


def company_with_badges():
    company = Company("ACME")
    checkout(company)
    company.holds = [Badge(company), {"deep": Badge(company)}]
    company.role = Role(Person("Ada", company))
    return company


def test_what_makes_a_value_again_may_need_the_object_that_has_it(path):
    # The commit succeeded, and no other process could read any of it: RecursionError.
    with Database(path) as database:
        database.set_root(company_with_badges())
        transaction.commit()
    with Database(path) as database:
        company = database.root
        assert company.name == "ACME"
        first, rest = company.holds
        assert (first.text, rest["deep"].text) == ("ACME ACME", "ACME ACME")
        assert company.role.title == "boss"
        checkout(company)
        company.name = "Acme"
        company.holds.pop()
        transaction.commit()
        check_database(database).raise_if_bad()
    with Database(path) as database:
        assert [badge.text for badge in database.root.holds] == ["Acme ACME"]


def test_a_hash_may_need_a_value_of_the_object_that_is_checked_out(path, monkeypatch):
    monkeypatch.setattr(Person, "need", staticmethod(lambda company: company.role.title))
    with Database(path) as database:
        company = Company("ACME")
        checkout(company)
        company.role = Role(None, "chief")
        database.set_root(company)
        transaction.commit()
        checkout(company)
        company.holds = {Person("Ada", company)}
        transaction.commit()
        checkout(company)
        [ada] = company.holds
        assert ada in company.holds
        company.holds.add(Person("Bob", company))
        transaction.commit()
        assert people_in(company, "set") == ["Ada", "Bob"]
        checkout(company)
        monkeypatch.setattr(Person, "need", staticmethod(lambda company: len(vars(company))))
        with pytest.raises(ReadCycleError, match="Company oid 0"):
            company.role  # noqa: B018
        transaction.abort()


def test_values_of_two_objects_may_need_the_other_one(path):
    one, two = Company("one"), Company("two")
    checkout(one, two)
    one.holds, two.holds = [Badge(two), Badge(one)], [Badge(one)]
    with Database(path) as database:
        database.set_root(PersistentDict(one=one, two=two))
        transaction.commit()
    with Database(path) as database:
        one, two = database.root["one"], database.root["two"]
        assert [badge.text for badge in one.holds] == ["two two", "one one"]
        assert [badge.text for badge in two.holds] == ["one one"]


def test_what_makes_a_value_again_and_needs_that_value_says_so(path, monkeypatch):
    with Database(path) as database:
        database.set_root(company_with_badges())
        transaction.commit()
    with Database(path) as database, monkeypatch.context() as patch:
        patch.setattr(Badge, "need", staticmethod(lambda company: company.holds[0].text))
        for _ in range(2):
            with pytest.raises(ReadCycleError, match=r"Company oid 0 .*\.holds of it"):
                database.root.name  # noqa: B018
        patch.undo()
        assert database.root.holds[0].text == "ACME ACME"


def test_a_hash_that_raises_hides_only_the_set(path, monkeypatch):
    stored(path, "set")
    with Database(path) as database, monkeypatch.context() as patch:
        patch.setattr(Person, "need", staticmethod(lambda company: company.nothing))
        company = database.root["company"]
        assert company.name == "ACME"
        with pytest.raises(ValueNotRebuiltError, match=r"a set .* 'nothing'"):
            len(company.holds)
        checkout(company)
        company.name = "Acme"
        transaction.commit()
        check_database(database).raise_if_bad()
    with Database(path) as database:
        assert database.root["company"].name == "Acme"
        assert people_in(database.root["company"], "set") == ["p0", "p1", "p2"]


def test_older_snapshots_and_versions_are_read_as_well(path):
    stored(path, "set")
    with Database(path) as database, Database(path) as other:
        past = database.storage.tid
        company = database.root["company"]
        transaction.begin()  # Nothing of the company was read yet.

        def change():
            theirs = other.root["company"]
            checkout(theirs)
            theirs.codes.append(1)
            transaction.commit()

        in_thread(change)
        assert in_thread(lambda: (database.root, company.codes)[1]) == ["ACME", "ACME", 1]
        assert company.codes == ["ACME", "ACME"]
        assert people_in(company, "set") == ["p0", "p1", "p2"]
        with database.at(past) as then:
            assert people_in(then.root["company"], "set") == ["p0", "p1", "p2"]


def test_a_signal_handler_reads_all_of_what_it_has_interrupted(path, monkeypatch):
    stored(path, "set")
    seen = []
    with Database(path) as database:
        company = database.root["company"]

        def need(_):
            if not seen:
                seen.append(None)  # Called in the midst of decoding, as a handler may be.
                seen.append(len(company.holds))
            return "ACME"

        monkeypatch.setattr(Person, "need", staticmethod(need))
        assert company.name == "ACME"
        assert seen == [None, 3]


def test_threads_may_read_it_at_the_same_time(path):
    stored(path, "set", 50)
    for _ in range(5):
        with Database(path) as database:
            company = database.root["company"]
            barrier = threading.Barrier(4)
            found = []

            def read(company=company, barrier=barrier, found=found):
                barrier.wait(TIMEOUT_SECONDS)
                found.append(len(people_in(company, "set")))

            threads = [threading.Thread(target=read) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(TIMEOUT_SECONDS)
            assert found == [50] * 4
