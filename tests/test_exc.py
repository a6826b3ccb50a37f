"""Errors: their values, their texts, their families."""

from __future__ import annotations

import copy
import inspect
import pickle
import typing

import pytest
from transaction.interfaces import TransientError

from dobbin_like import exc

ERRORS = {
    exc.ReadOnlyError(
        "Cart", 3, "total"
    ): "Can't set attribute in read-only mode. Cart oid 3 is not checked out; call checkout(obj), "
    "then change .total.",
    exc.ReadOnlyError("Cart", None, "total"): "mode. A new Cart is not checked out; call checkout",
    exc.ReadOnlyError("Cart", None, "total", elsewhere=True): (
        "A new Cart is checked out by another thread or task, for itself alone; change it there"
    ),
    exc.CheckedOutElsewhereError("Cart"): "a new Cart is checked out by another thread or task",
    exc.NoSuchAttributeError("Cart", "_p_changed", "no"): "Cart has no _p_changed: no",
    exc.FixedClassError("Cart", 3, "Shop"): "Cart oid 3 can't become an instance of Shop: the cl",
    exc.SharedValueError("list", "Cart oid 3"): "this list belongs to Cart oid 3",
    exc.SharedValueError("list", "Cart oid 3", elsewhere=True): (
        "Cart oid 3, which is checked out by another thread or task, for itself alone; call check"
    ),
    exc.ReadOnlyError("Cart", 3, "total", elsewhere=True): (
        "Cart oid 3 is checked out by another thread or task, for itself alone; call checkout(obj)"
    ),
    exc.SharedValueError("PersistentList", "PersistentList oid 3"): (
        "PersistentList oid 3 is in shared state; call checkout() on it, then change it"
    ),
    exc.SharedValueError("PersistentList", "PersistentList oid 3", elsewhere=True): (
        "itself alone; call checkout() on it in this one, in a transaction of its own, then change"
    ),
    exc.SharedValueError(
        "list", "BTree oid 3", by_key=True
    ): "this list belongs to BTree oid 3, and is in shared state; call checkout() on the tree, th",
    exc.SharedValueError("PersistentList", ""): "this new PersistentList is not checked out; call",
    exc.SharedStateChangedError(
        "Cart", 3, "lines"
    ): "Cart oid 3: .lines was changed in shared sta",
    exc.ClosedError("the log x"): "the log x is closed; open it again",
    exc.RootError("there is one"): "can't set the root: there is one",
    exc.NotPersistentError("the class Cart"): "the class Cart was given, expected an instance of",
    exc.NotPersistentError("int"): "int is not a subclass of Persistent",
    exc.InvalidObjectReference("Cart", 3, "Shop oid 0"): "Shop oid 0: Cart oid 3 belongs to anoth",
    exc.NotStorableError("Cart", 3, ".a[0]", "no"): "Cart (oid 3), at .a[0]: no",
    exc.NotStorableError("Cart", None, ".a", "no"): "Cart (a new object), at .a: no",
    exc.ClassNotSupported("Cart", "slots"): "class Cart can't be persistent: slots",
    exc.ObjectNotFound(7): "there is no object with oid 7",
    exc.TransactionNotFound("x.log", 7, "too new"): "x.log: no transaction 7: too new",
    exc.PastDroppedError("x.log", 7, 9): "as of tid 7 was dropped when the log was packed; ask",
    exc.PastDroppedError("x.log", 7, 9, 8): "x.log: transaction 8 can't be undone: what there was",
    exc.UndoError("x.log", 7, "it failed"): "x.log: transaction 7 can't be undone: it failed",
    exc.UndoConflictError(
        "Cart", 3, 9, 5, "somebody", "", "total"
    ): "transaction 5 can't be undone: .total of Cart oid 3, which it changed, was changed again",
    exc.SelfWaitError("x.log"): "x.log: this thread is already committing to this file",
    exc.BlockError("x.log", "no"): "x.log: a transaction block can't go on: no",
    exc.LatePatchError("x.log"): "patch first (monkey.patch_all()), then import",
    exc.UncommittedChangesError("x.log"): "neither committed nor aborted; call transaction.com",
    exc.UncommittedChangesError(
        "x.log", "Cart", 5, 1
    ): "committed nor aborted (in Cart oid 5); call",
    exc.UncommittedChangesError(
        "x.log", "Cart", 5, 2
    ): "(in 2 objects, the first is Cart oid 5); ca",
    exc.OtherManagerError("x.log"): "of another transaction manager than that of the database",
    exc.StorageInUseError("x.log"): "x.log: this storage belongs to a database",
    exc.ReadOnlyStorageError("x.log", "read-only"): "x.log: read-only",
    exc.LogPackedError("x.log", "the log was packed"): "read_news() continues in the new file",
    exc.StreamMovedError("x.log", 4096): "the stream 4096 has moved, the log was packed",
    exc.PackError("x.log", "it has no file"): "x.log: can't be packed: it has no file",
    exc.PackRunningError("x.log"): "is being packed already",
    exc.NotASafeError("x.log", "Cart"): "not a safe, its root is a Cart; open it as a",
    exc.SafeDirectoryError("no"): "the directory for the safes of modules: no",
    exc.CopyError("x.log", "of another database"): "x.log: of another database",
    exc.SourceError(
        "x.jsonl", "line 3", "'{'", "JSON"
    ): "x.jsonl: line 3: '{', expected JSON; nothing was imported",
    exc.UnloadedClassError("shop", "Cart", "not there"): "the class shop.Cart is not loaded",
    exc.ValueNotRebuiltError("shop", "Size", "no"): "a shop.Size can't be rebuilt: no; let its",
    exc.BrokenObjectError("shop", "Cart", "no", "pay"): "has no 'pay', and the class shop.Cart is",
    exc.ReadCycleError(
        "Cart", 3, "lines"
    ): "Cart oid 3 is being read, and a hash or a comparison of",
    exc.RenameError("shop.Cart", "shop.Basket", "no"): "can't rename shop.Cart to shop.Basket: no",
    exc.NewerStateError("Cart", 3, 5, 4): "Cart oid 3 was stored as version 5, the class of this",
    exc.ChangedBaseError(
        "Cart", 3, "_items, a dict", "a list"
    ): "with _items, a dict, its class expe",
    exc.MigrationError(
        "Cart", 3, 1, 2, "no"
    ): "Cart oid 3, from version 1 to 2: no; correct Cart._p_migrate",
    exc.IndexDefinitionError("x.log", "Cart(id)", "no"): "x.log: index Cart(id): no",
    exc.IndexFunctionError(
        "x.log", "Cart", "shop.total"
    ): "call db.index(Cart, shop.total) when the program starts, or open",
    exc.SearchError(
        "x.log", "Cart", "total__gt=...", "ask total=above(value)"
    ): "x.log: find(Cart, total__gt=...) is no question; ask total=above(value)",
    exc.NotIndexableError(
        "Cart", 3, "lines", "no"
    ): "Cart oid 3, at .lines, which has an index: n",
    exc.IndexStaleError("Cart", 3, "Cart(id)"): "or the function, has changed; call drop_index()",
    exc.UniqueError("Cart", 3, "Cart(id)", "'x'", 2): "can't have the key 'x' in the unique index",
    exc.UniqueConflictError("Cart", 3, "Cart(id)", "'x'", 2): "oid 2 has it; give it another key",
    exc.ConflictError(
        "Cart", 3, 9, 5, "somebody", ""
    ): "Cart oid 3 was changed by somebody (tid 9)",
    exc.WriteConflictError("Cart", 3, 9, 5, "x", "no"): "and no; run the transaction again",
    exc.ReadConflictError("Cart", 3, 9, 5, "x", ""): "(tid 5); run the transaction again",
    exc.InDoubtError("x.log", 7, "EIO"): "7 may be committed or not: EIO; ask outcome(7) before",
    exc.OvertakenError("x.log", 7): "another process has committed after transaction 7; run the",
    exc.ServerUnavailableError("pg", "no route"): "pg: the server can't be used: no route",
    exc.HistoryLostError("pg", 7, "only 5"): "has lost transactions, expected number 7 as it was",
    exc.DivergedError("x.log", "pg", 7, "its last transaction is not in the source"): (
        "not in the source; up to tid 7 it is the same as pg, which is another log"
    ),
    exc.LockTimeout("x.log", 0.5): "after 0.5 seconds; run the transaction again",
    exc.NotALogError(
        "x.log", "text"
    ): "x.log: not a dobbin_like log: text; is this the right path?",
    exc.SnapshotDroppedError("x.log", 7): "the snapshot of tid 7, which this thread still had",
    exc.ChangesLostError(
        "the database x.log"
    ): "x.log was closed with changes of this transaction",
    exc.CommittingError("x.log"): "x.log: the transaction is committing, nothing more can",
    exc.LogMovedError("x.log", "the file is gone"): "x.log: the file is gone, expected the file",
    exc.LeaseLostError("x.log", 255, 2): "x.log: job ff is not claimed by attempt 2 any more: its "
    "lease ran out, or the job was acknowledged or given back; claim with a longer lease, or "
    "extend() it",
    exc.NotHeldError("x.log", "finish()", "a lock"): "x.log: finish() needs a lock",
    exc.FormatVersionError("x.log", 3, 1): "format version 3, this release reads up to 1; upgrade",
    exc.IntegrityError("x.log", 70, "a", "b"): "x.log:70: a, expected b; run `python -m dobbin_li",
}

BUILT_IN = {
    exc.ReadOnlyError: RuntimeError,
    exc.CheckedOutElsewhereError: RuntimeError,
    exc.NoSuchAttributeError: AttributeError,
    exc.FixedClassError: TypeError,
    exc.SharedValueError: RuntimeError,
    exc.SharedStateChangedError: RuntimeError,
    exc.ClosedError: ValueError,
    exc.ChangesLostError: ValueError,
    exc.RootError: ValueError,
    exc.NotPersistentError: TypeError,
    exc.InvalidObjectReference: ValueError,
    exc.NotStorableError: TypeError,
    exc.ClassNotSupported: TypeError,
    exc.ObjectNotFound: LookupError,
    exc.TransactionNotFound: LookupError,
    exc.PastDroppedError: LookupError,
    exc.UndoError: ValueError,
    exc.SelfWaitError: RuntimeError,
    exc.CommittingError: RuntimeError,
    exc.BlockError: RuntimeError,
    exc.LatePatchError: RuntimeError,
    exc.LeaseLostError: RuntimeError,
    exc.NotHeldError: RuntimeError,
    exc.ReadOnlyStorageError: PermissionError,
    exc.PackError: ValueError,
    exc.PackRunningError: RuntimeError,
    exc.UncommittedChangesError: RuntimeError,
    exc.OtherManagerError: RuntimeError,
    exc.CopyError: ValueError,
    exc.SourceError: ValueError,
    exc.NotASafeError: ValueError,
    exc.SafeDirectoryError: RuntimeError,
    exc.BrokenObjectError: AttributeError,
    exc.ReadCycleError: RuntimeError,
    exc.IndexDefinitionError: ValueError,
    exc.IndexFunctionError: LookupError,
    exc.IndexStaleError: LookupError,
    exc.NotIndexableError: TypeError,
    exc.UniqueError: ValueError,
    exc.RenameError: ValueError,
    exc.NewerStateError: RuntimeError,
    exc.MigrationError: RuntimeError,
    exc.ChangedBaseError: TypeError,
    exc.ServerUnavailableError: ConnectionError,
    exc.NotALogError: ValueError,
    exc.FormatVersionError: ValueError,
}


def every_error():
    return {
        cls
        for _, cls in inspect.getmembers(exc, inspect.isclass)
        if issubclass(cls, exc.Error) and cls.__module__ == exc.__name__
    }


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_text_says_what_was_found_and_what_to_do(error):
    assert ERRORS[error] in str(error)
    assert not str(error).startswith(" ")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("make", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_being_sent_to_another_process(error, make):
    made = make(error)

    assert type(made) is type(error)
    assert str(made) == str(error)
    assert {name: getattr(made, name) for name in error.fields} == {
        name: getattr(error, name) for name in error.fields
    }


def test_every_error_that_has_values_is_in_the_table():
    missing = every_error() - {type(error) for error in ERRORS}

    assert {cls.__name__ for cls in missing} == {"Error", "LogError", "UsageError"}


def test_what_is_in_doubt_is_of_no_family():
    """It must not be run again by itself, and neither the program nor the file is wrong."""
    assert exc.InDoubtError.__bases__ == (exc.Error,)


def test_a_key_that_is_taken_is_of_no_family():
    """The program is right, and to run it again does not help, unless the other is new."""
    assert exc.UniqueError.__bases__ == (exc.Error, ValueError)
    assert issubclass(exc.UniqueConflictError, (exc.UniqueError, TransientError))


def test_a_server_that_is_away_is_of_no_family():
    """Running the transaction again would only wait again."""
    assert exc.ServerUnavailableError.__bases__ == (exc.Error, ConnectionError)


def test_every_other_error_is_of_exactly_one_family():
    alone = {exc.Error, exc.InDoubtError, exc.ServerUnavailableError, exc.UniqueError}
    for cls in every_error() - alone:
        families = (exc.UsageError, exc.LogError, TransientError)
        assert sum(issubclass(cls, family) for family in families) == 1, cls
        assert issubclass(cls, exc.Error)


@pytest.mark.parametrize("cls", BUILT_IN, ids=lambda cls: cls.__name__)
def test_an_error_is_also_the_built_in_one_that_fits(cls):
    assert issubclass(cls, BUILT_IN[cls])


def test_all_public_names_are_listed():
    public = {cls.__name__ for cls in every_error()} | {
        "ClaimDroppedWarning",
        "LostChangeWarning",
        "MainModuleWarning",
        "OpenDatabaseWarning",
        "RedefinedClassWarning",
        "UncommittedChangesWarning",
        "UnknownAttributeWarning",
    }

    assert set(exc.__all__) == public


def test_a_wrong_number_of_values_is_a_type_error():
    with pytest.raises(TypeError, match="takes"):
        exc.RootError()
    with pytest.raises(TypeError, match="takes"):
        exc.LockTimeout("x", 1, 2)


def test_a_conflict_can_be_raised_without_values():
    """As ``_p_resolve_conflict`` of a user's class does."""
    error = exc.ConflictError()

    assert error.oid is None
    assert "run the transaction again" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_values_may_be_given_by_name_and_the_rest_has_defaults():
    error = exc.ConflictError(failed="the key 'a' was changed", oid=7)

    assert error.args == ("object", 7, None, None, "another transaction", error.failed)
    assert exc.LockTimeout("x.log", timeout_seconds=2).args == ("x.log", 2)
    with pytest.raises(TypeError, match="takes"):
        exc.LockTimeout("x.log", 2, path="y.log")
    with pytest.raises(TypeError, match="takes"):
        exc.LockTimeout("x.log", 2, seconds=2)


def test_the_representation_names_the_values():
    assert repr(exc.LockTimeout("x.log", 2)) == "LockTimeout(path='x.log', timeout_seconds=2)"
    assert repr(exc.LogError()) == "LogError()"


def test_a_subclass_has_the_values_of_its_base_before_its_own():
    class Refused(exc.ConflictError):
        by_whom: str = "an editor"
        page: int = 0

    error = Refused(page=3)

    assert Refused.fields == (*exc.ConflictError.fields, "page")
    assert (error.by_whom, error.page, error.args[-1]) == ("an editor", 3, 3)
    assert "was changed by an editor" in str(error)


def test_notes_survive_a_copy():
    error = exc.LockTimeout("x.log", 2)
    error.add_note("while packing")

    for made in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert made.__notes__ == ["while packing"]


def test_every_error_names_the_package_as_its_module():
    """It is what tracebacks show, and what pickles of every release name."""
    for name in (*exc.__all__, "Difference", "Sides"):
        assert getattr(exc, name).__module__ == "dobbin_like.exc"


def test_an_error_that_another_release_has_pickled_can_be_read():
    made = pickle.loads(b"cdobbin_like.exc\nUniqueError\n(VCart\nI3\nVCart(id)\nV'x'\nI2\ntR.")

    assert (type(made), made.other) == (exc.UniqueError, 2)


def test_the_annotations_of_every_error_can_be_evaluated():
    for name in exc.__all__:
        assert typing.get_type_hints(getattr(exc, name)).keys() >= {
            *getattr(getattr(exc, name), "fields", ())
        }
