"""``Persistent`` and ``checkout``: who may write what, and until when."""

from __future__ import annotations

import importlib
import inspect
import pydoc
import sys
from typing import Any

import pytest
import transaction
from transaction.interfaces import TransactionFailedError

from dobbin_like import Persistent, PersistentMeta, WriteConflictError, checkout
from dobbin_like.exc import NotPersistentError, ReadOnlyError
from tests.helpers.steps import in_thread
from tests.helpers.things import Thing


class Opener(Persistent):
    """Calls ``checkout`` on itself while it is made."""

    def __init__(self) -> None:
        checkout(self)
        self.x = 1


class Reserved(Persistent):
    def __init__(self) -> None:
        self._p_oid = 5


@pytest.fixture
def thing(database):
    thing = Thing(x=1)
    database.set_root(thing)
    transaction.commit()
    return thing


def test_checkout_returns_nothing_and_takes_any_number(database, thing):
    assert checkout() is None
    assert checkout(thing, Thing()) is None


def test_a_checkout_ends_with_the_transaction(thing):
    for end in (transaction.commit, transaction.abort, transaction.begin):
        checkout(thing)
        thing.x = 2
        end()
        with pytest.raises(ReadOnlyError):
            thing.x = 3
        assert type(thing) is Thing


def test_a_second_checkout_keeps_what_was_changed(thing):
    checkout(thing)
    thing.x = 2
    checkout(thing)

    assert thing.x == 2


def test_a_checkout_of_one_thread_is_none_of_another(thing):
    checkout(thing)
    thing.x = 2

    def other():
        assert thing.x == 1
        with pytest.raises(ReadOnlyError):
            thing.x = 3
        checkout(thing)
        thing.x = 3
        assert thing.x == 3
        transaction.abort()

    in_thread(other)
    assert thing.x == 2


def test_those_before_something_that_is_not_persistent_are_checked_out(thing):
    with pytest.raises(NotPersistentError):
        checkout(thing, "text")

    thing.x = 2
    assert thing.x == 2


def test_a_checkout_after_a_failed_transaction_is_refused(thing):
    def other():
        checkout(thing)
        thing.x = 5
        transaction.commit()

    checkout(thing)
    thing.x = 2
    in_thread(other)
    with pytest.raises(WriteConflictError):
        transaction.commit()

    with pytest.raises(TransactionFailedError):
        checkout(thing)
    transaction.abort()
    checkout(thing)
    assert thing.x == 5


def test_a_new_object_is_writable_from_checkout_to_the_end_of_the_transaction(database):
    thing = Thing(x=1)
    for end in (transaction.commit, transaction.abort):
        checkout(thing)
        thing.x += 1
        end()
        with pytest.raises(ReadOnlyError):
            thing.x = 9
    assert thing.x == 3


def test_a_constructor_may_check_out_its_object():
    opener = Opener()

    assert opener.x == 1
    with pytest.raises(ReadOnlyError):
        opener.x = 2


def test_a_new_object_hung_up_and_changed_in_one_transaction_is_stored_once(database, thing):
    new = Thing(x=1)
    checkout(thing, new)
    thing.new = new
    new.x = 2
    transaction.commit()

    assert len(database) == 2
    assert new.x == 2
    assert type(new) is Thing


def test_a_new_object_is_of_no_use_to_another_thread_before_the_commit(database, thing):
    new = Thing(x=1)
    checkout(thing, new)
    thing.new = new
    assert not in_thread(lambda: hasattr(thing, "new"))
    transaction.commit()

    assert in_thread(lambda: thing.new.x) == 1


@pytest.mark.parametrize("name", ["_p_oid", "_p_jar", "_p_serial"])
def test_the_names_of_the_protocol_cannot_be_set(thing, name):
    checkout(thing)

    with pytest.raises(AttributeError):
        setattr(thing, name, 1)
    with pytest.raises(AttributeError):
        delattr(thing, name)
    with pytest.raises(AttributeError):
        Reserved()


def test_the_serial_is_that_of_the_version_one_sees(database, thing):
    first = thing._p_serial

    def change():
        checkout(thing)
        thing.x = 2
        transaction.commit()
        return thing._p_serial

    second = in_thread(change)

    assert thing._p_serial == first < second
    transaction.begin()
    assert thing._p_serial == second == database.storage.tid
    checkout(thing)
    assert thing._p_serial == second


def test_the_serial_of_a_ghost_is_read(database, thing, again):
    other = again()

    assert other.root._p_serial == thing._p_serial
    assert other.root._p_jar is other


def test_a_key_that_is_no_identifier_can_be_an_attribute(thing, again):
    checkout(thing)
    setattr(thing, "with space", 1)
    thing.ünïcode = 2
    transaction.commit()

    assert getattr(again().root, "with space") == 1
    assert again().root.ünïcode == 2


# -- what a program asks of a class ---------------------------------------------------------


def test_a_class_has_the_signature_of_its_constructor():
    class Named(Persistent):
        def __init__(self, name, *, size=0): ...

    class Made(Persistent):
        def __new__(cls, size):
            return super().__new__(cls)

    class Plain(Persistent): ...

    assert str(inspect.signature(Named)) == "(name, *, size=0)"
    assert str(inspect.signature(Made)) == "(size)"
    assert str(inspect.signature(Plain)) == "()"
    assert "Named(name, *, size=0)" in pydoc.render_doc(Named)


LATE = """
class Late(Persistent):
    def __init__(self, name: Nowhere, size: int = 0): ...
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
def test_a_class_may_have_annotations_that_can_not_be_evaluated():
    # They are those of modules that are imported for type checkers only. help() failed.
    names: dict[str, Any] = {"Persistent": Persistent, "__name__": __name__}
    exec(compile(LATE, __file__, "exec", dont_inherit=True), names)
    late = names["Late"]
    annotationlib: Any = importlib.import_module("annotationlib")
    for form in annotationlib.Format.STRING, annotationlib.Format.FORWARDREF:
        found: Any = inspect.signature(late, annotation_format=form)  # type: ignore[call-arg]
        assert [*found.parameters] == ["name", "size"]
    with pytest.raises(NameError, match="Nowhere"):
        inspect.signature(late)
    assert "Late(name: Nowhere, size: int = 0)" in pydoc.render_doc(late)
    assert "__init__" in dict(inspect.getmembers(late))


def test_a_class_may_have_a_signature_of_its_own(database, again):
    # A decorator that gives it one, as those of pydantic do, failed: there was no setter.
    own = inspect.Signature([inspect.Parameter("a", inspect.Parameter.POSITIONAL_ONLY)])

    class Written(Persistent):
        __signature__ = own

    class Given(Persistent):
        def __init__(self, name=1): ...

    Given.__signature__ = own
    assert inspect.signature(Written) == inspect.signature(Given) == own
    del Given.__signature__
    assert str(inspect.signature(Given)) == "(name=1)"

    database.set_root(Thing(x=1))
    transaction.commit()
    checkout(database.root)
    face = type(database.root)
    assert face is not Thing
    face.__signature__ = own
    try:
        assert inspect.signature(Thing) == inspect.signature(face) == own
    finally:
        del Thing.__signature__
    assert inspect.signature(Thing) == inspect.signature(face) != own
    assert not hasattr(PersistentMeta, "__signature__")
