"""Views of a persistent dict: what those of a dict do, of the items as they are when one looks."""

from __future__ import annotations

import collections.abc
import operator

import pytest
import transaction

from dobbin_like import PersistentDict, checkout
from dobbin_like.exc import NotStorableError
from tests.helpers.steps import in_thread

CONTENT = {"a": 1, "b": 2}

OPERATIONS = {
    "len": len,
    "list": list,
    "reversed": lambda view: list(reversed(view)),
    "repr": repr,
    "bool": bool,
    "in": lambda view: [item in view for item in ("a", 1, ("a", 1), ("a", 2), [], ("a", []), 3)],
    "isdisjoint": lambda view: [view.isdisjoint(["a"]), view.isdisjoint([("a", 1)])],
    "mapping": lambda view: dict(view.mapping),
    "mapping is read-only": lambda view: operator.setitem(view.mapping, "a", 5),
    "subscript": lambda view: view[0],
    "same": lambda view: view == view,  # noqa: PLR0124
    "not same": lambda view: view != view,  # noqa: PLR0124
    "set attribute": lambda view: setattr(view, "color", "red"),
    "two iterators": lambda view: list(zip(iter(view), iter(view), strict=True)),
}
OTHERS = [
    {"a"},
    {"a", "b", "c"},
    {"a", "b"},
    {("a", 1)},
    frozenset({("a", 1), ("b", 2)}),
    CONTENT.keys(),
    CONTENT.items(),
    CONTENT.values(),
    {"a": 1}.keys(),
    ["a"],
    "a",
    5,
    None,
]
for function in "and_ or_ sub xor eq ne lt le gt ge".split():
    for number, other in enumerate(OTHERS):
        do = getattr(operator, function)
        OPERATIONS[f"{function} {number}"] = lambda view, do=do, other=other: do(view, other)
        OPERATIONS[f"{function} {number} swapped"] = lambda view, do=do, other=other: do(
            other, view
        )


def outcome(operation, subject):
    try:
        return operation(subject)
    except Exception as error:
        return type(error)


@pytest.fixture(params=["new", "shared", "mine", "theirs", "ghost"])
def table(request, database, again):
    made = PersistentDict(CONTENT)
    if request.param == "new":
        return made
    database.set_root(made)
    transaction.commit()
    if request.param == "mine":
        checkout(made)
    if request.param == "theirs":
        in_thread(lambda: (checkout(made), made.clear(), transaction.commit()))
    return again().root if request.param == "ghost" else made


@pytest.mark.parametrize("name", ["keys", "values", "items"])
def test_a_view_answers_as_that_of_a_dict(table, name):
    view, expected = getattr(table, name)(), getattr(CONTENT, name)()

    for what, operation in OPERATIONS.items():
        answer, due = outcome(operation, view), outcome(operation, expected)
        assert answer == due, what
        assert type(answer) is type(due), what


@pytest.mark.parametrize("name", ["keys", "values", "items"])
def test_views_of_persistent_dicts_meet_each_other(table, name):
    other = PersistentDict(b=2, c=3)
    ours = getattr(table, name)(), getattr(other, name)()
    expected = getattr(CONTENT, name)(), getattr({"b": 2, "c": 3}, name)()

    for function in "and_ or_ sub xor eq ne lt le gt ge".split():
        combine = getattr(operator, function)
        assert both(combine, *ours) == both(combine, *expected), function


def both(combine, one, other):
    return outcome(lambda view: combine(view, other), one)


def test_views_have_the_abstract_base_classes_of_those_of_a_dict():
    table = PersistentDict(CONTENT)

    assert isinstance(table.keys(), (collections.abc.KeysView, collections.abc.Set))
    assert isinstance(table.items(), (collections.abc.ItemsView, collections.abc.Set))
    assert isinstance(table.values(), collections.abc.ValuesView)
    assert not isinstance(table.values(), collections.abc.Set)


def test_a_view_shows_a_change_after_a_checkout_and_after_it_was_taken_back(table):
    views = table.keys(), table.values(), table.items()

    checkout(table)
    table["c"] = 3
    assert [list(view)[-1] for view in views] == ["c", 3, ("c", 3)]
    if table._p_jar is not None:
        savepoint = table._p_jar.transaction_manager.savepoint()
        del table["c"]
        assert "c" not in views[0]
        savepoint.rollback()
    assert [len(view) for view in views] == [3, 3, 3]


def test_a_view_shows_what_others_have_committed_from_the_next_transaction_on(database):
    table = PersistentDict(CONTENT)
    database.set_root(table)
    transaction.commit()
    keys = table.keys()

    in_thread(lambda: (checkout(table), table.pop("a"), transaction.commit()))

    assert list(keys) == ["a", "b"]
    transaction.begin()
    assert list(keys) == ["b"]


def test_a_view_is_not_stored(database):
    table = PersistentDict(CONTENT)
    database.set_root(table)
    transaction.commit()
    checkout(table)
    table["view"] = PersistentDict(a=1).keys()

    with pytest.raises(NotStorableError):
        transaction.commit()
    transaction.abort()

    assert table == CONTENT
