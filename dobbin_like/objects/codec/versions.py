"""Versions of states: which one a state was stored as, and how it becomes the newest.

A class says its version by ``_p_version``; the number is stored as one more attribute of
the state, which programs do not see. What is read with a lower number goes through the class's
``_p_migrate``. Classes of version 0, which is every class that says nothing, store nothing.
"""

from __future__ import annotations

from typing import Any, Final

from dobbin_like.exc import MigrationError, NewerStateError, NotStorableError
from dobbin_like.ids import OWN_ATTRIBUTES, Oid
from dobbin_like.objects.faces.base import is_new
from dobbin_like.objects.values.refs import Identity, State, ref_of
from dobbin_like.objects.values.values import copy_with_references

VERSION: Final = "_p_version"
"""The attribute of a stored state that has its version; it comes last. None: version 0."""


def with_version(cls: Any, oid: Oid, state: State) -> State:
    """Return *state* as it is stored; raise NotStorableError if it has an attribute VERSION."""
    if VERSION in state:
        reason = f"{VERSION} is an attribute of the class; an object can't have its own"
        raise NotStorableError(cls.__name__, oid, f".{VERSION}", reason)
    return {**state, VERSION: cls._p_version}


def upgrade(cls: Any, oid: Oid, stored: State, *, new_objects: bool = False) -> State:
    """Return *stored*, which the caller gives away, as a state of the version of *cls*.

    The result shares nothing changeable with others. With *new_objects*, it may hold persistent
    objects that ``_p_migrate`` has made and that are not stored yet; a reader can't have them,
    because each thread would have its own. Raises NewerStateError and MigrationError.
    """
    found = stored.pop(VERSION, 0)
    expected = cls._p_version
    if found == expected:
        return stored
    if type(found) is not int or found > expected:
        raise NewerStateError(cls.__name__, oid, found, expected)
    migrate = getattr(cls, "_p_migrate", None)
    if migrate is None:
        raise MigrationError(cls.__name__, oid, found, expected, "the class has no _p_migrate")
    own = {name: stored[name] for name in OWN_ATTRIBUTES if name in stored}
    try:
        made = migrate(stored, found)
        if type(made) is not dict or not all(type(name) is str for name in made):
            reason = f"it returned {made!r:.60}, expected the state, a dict of attributes by name"
        else:
            made = {**cls._p_faces.state_of(made), **own}
            made.pop(VERSION, None)
            if new_objects:
                return made
            copy, references = copy_with_references(made)
            if not any(isinstance(obj, Identity) and is_new(ref_of(obj)) for obj in references):
                return copy  # type: ignore[no-any-return]
            reason = (
                f"it makes persistent objects, which only a transaction can store; "
                f"run database.migrate({cls.__name__})"
            )
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise MigrationError(cls.__name__, oid, found, expected, reason) from error
    raise MigrationError(cls.__name__, oid, found, expected, reason)
