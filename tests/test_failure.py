"""Tests of what is noted of a transaction that has failed: as much as the package notes itself."""

from __future__ import annotations

import gc
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import transaction
from transaction.interfaces import TransactionFailedError

from dobbin_like.collections import PersistentDict
from dobbin_like.exc import ConflictError
from dobbin_like.persistent import checkout

if TYPE_CHECKING:
    from collections.abc import Callable

    from dobbin_like.database import Database


@pytest.fixture
def root(database: Database) -> PersistentDict:
    root = PersistentDict(number=0)
    database.set_root(root)
    transaction.commit()
    return root


def fail(root: PersistentDict, other: Database) -> ConflictError:
    """Let a commit of this thread fail by a conflict; return the error."""
    checkout(root)
    root["number"] += 1
    with other.transaction() as theirs:
        checkout(theirs)
        theirs["number"] += 1
    with pytest.raises(ConflictError) as caught:
        transaction.commit()
    return caught.value


def test_a_failed_transaction_says_why_when_it_is_used_again(
    root: PersistentDict, again: Callable[..., Database]
) -> None:
    error = fail(root, again())
    with pytest.raises(TransactionFailedError) as caught:
        checkout(root)
    text = str(caught.value)
    transaction.abort()
    assert "An operation previously failed, with traceback:" in text
    assert "transaction.commit()" in text  # The line of fail(), with its source.
    assert "in tpc_begin" in text
    assert f"dobbin_like.exc.{type(error).__name__}: {error}" in text


def test_it_is_in_the_order_of_a_traceback(
    root: PersistentDict, again: Callable[..., Database]
) -> None:
    fail(root, again())
    with pytest.raises(TransactionFailedError) as caught:
        transaction.commit()
    transaction.abort()
    lines = str(caught.value).splitlines()
    names = [line.rpartition(", in ")[2] for line in lines if line.startswith('  File "')]
    caller, commit = names.index("fail"), names.index("_commitResources")
    assert names.index("test_it_is_in_the_order_of_a_traceback") < caller < commit
    assert names.index("tpc_begin") > commit


def test_it_costs_no_formatting(
    root: PersistentDict, again: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    formatted: list[Any] = []

    def format_list(*arguments: Any) -> list[str]:
        formatted.append(arguments)
        return []

    monkeypatch.setattr(traceback, "print_stack", format_list)
    monkeypatch.setattr(traceback, "print_tb", format_list)
    monkeypatch.setattr(traceback, "format_list", format_list)
    fail(root, again())
    transaction.abort()
    assert not formatted


def test_it_keeps_nothing_of_the_program_alive(
    root: PersistentDict, again: Callable[..., Database]
) -> None:
    class Local:
        pass

    def commit_with_local() -> weakref.ref[Local]:
        local = Local()
        fail(root, again())
        return weakref.ref(local)

    local = commit_with_local()
    gc.collect()
    assert local() is None
    transaction.abort()


def test_other_errors_are_noted_by_the_package(root: PersistentDict) -> None:
    checkout(root)
    root["number"] = lambda: None  # It can't be stored.
    with pytest.raises(TypeError):
        transaction.commit()
    with pytest.raises(TransactionFailedError, match="An operation previously failed"):
        transaction.commit()
    transaction.abort()


def test_hooks_hear_of_it(root: PersistentDict, again: Callable[..., Database]) -> None:
    heard: list[bool] = []
    transaction.get().addAfterCommitHook(heard.append)
    fail(root, again())
    assert heard == [False]
    transaction.abort()
