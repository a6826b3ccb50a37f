"""A database that asks which transaction manager is in use, as a web framework sets one."""

from __future__ import annotations

import contextvars
import gc
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import ConflictError, Database, TransactionLog, checkout
from dobbin_like.check import check_database
from dobbin_like.exc import UncommittedChangesError
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

in_use: contextvars.ContextVar[Any] = contextvars.ContextVar("in_use")


def current() -> Any:
    return in_use.get(transaction.manager)


@pytest.fixture
def web(path: Path) -> Iterator[Database]:
    storage = TransactionLog(path, sync=False)
    with Database(storage, transaction_manager=current) as web:
        web.set_root(Thing(n=0))
        transaction.commit()
        yield web
        transaction.abort()
        check_database(web).raise_if_bad()


def request(handle: Callable[[], Any], manager: Any = None) -> Any:
    """Do what a framework does: begin a transaction of its own, commit it, or abort it."""
    if manager is None:
        manager = transaction.TransactionManager(explicit=True)
    token = in_use.set(manager)
    try:
        with manager:
            return handle()
    finally:
        in_use.reset(token)


def test_the_transaction_of_the_request_stores_what_it_has_changed(web, again):
    def hit():
        root = web.root
        checkout(root)
        root.n += 1

    for _ in range(3):
        request(hit)

    assert again().root.n == 3


def test_an_object_that_is_known_already_is_checked_out_in_the_request(web, again):
    root = web.root

    def hit():
        checkout(root)
        root.n += 1

    for _ in range(3):
        request(hit)
    in_thread(lambda: request(hit))

    assert again().root.n == 4


def test_a_request_that_fails_changes_nothing(web):
    def fail():
        checkout(web.root)
        web.root.n = 7
        raise RuntimeError

    with pytest.raises(RuntimeError):
        request(fail)

    assert web.root.n == 0


def test_requests_have_snapshots_and_conflicts(web):
    def slow():
        n = web.root.n
        in_thread(lambda: request(fast))
        assert web.root.n == n
        checkout(web.root)
        web.root.n = n + 1

    def fast():
        checkout(web.root)
        web.root.n += 1

    with pytest.raises(ConflictError):
        request(slow)

    assert web.root.n == 1


def test_between_requests_the_manager_of_the_thread_is_in_use(web):
    request(lambda: web.root)
    checkout(web.root)
    web.root.n = 5
    transaction.commit()

    assert request(lambda: web.root.n) == 5


def test_changes_under_way_are_not_left_to_another_manager(web):
    checkout(web.root)
    web.root.n = 5

    with pytest.raises(UncommittedChangesError):
        request(lambda: web.root)
    with pytest.raises(UncommittedChangesError):
        request(lambda: checkout(Thing(), web._store.get_root()))

    transaction.commit()
    assert request(lambda: web.root.n) == 5


def test_a_manager_that_is_gone_takes_its_changes_with_it(web):
    def leave(root):
        manager = transaction.TransactionManager(explicit=True)
        token = in_use.set(manager)
        manager.begin()
        checkout(root)
        root.n = 9
        in_use.reset(token)

    leave(web.root)
    gc.collect()

    assert web.root.n == 0


def test_a_manager_is_asked_for_at_its_use_not_at_opening(path):
    def unknown():
        raise LookupError

    with Database(path, transaction_manager=unknown) as database, pytest.raises(LookupError):
        _ = database.root


class HandsOn:
    """Has no transaction of its own, but those of the manager in use."""

    def __init__(self) -> None:
        self._idle = transaction.TransactionManager()

    def __getattr__(self, name: str) -> Any:
        return getattr(in_use.get(self._idle), name)


def test_a_manager_that_hands_on_to_several_ones_is_refused(path):
    one, other = transaction.TransactionManager(), transaction.TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=HandsOn()) as db:
        request(lambda: db.set_root(Thing(n=0)), one)
        request(lambda: checkout(db.root), one)

        with pytest.raises(TypeError, match="stands for several ones; give it the function"):
            request(lambda: checkout(db.root), other)
