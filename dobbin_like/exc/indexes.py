"""Errors of indexes: a wrong call, and a key that belongs to another object."""

from __future__ import annotations

from dobbin_like.exc.base import HOME, Error, TransientError, UsageError
from dobbin_like.ids import Oid

__all__ = [
    "IndexDefinitionError",
    "IndexFunctionError",
    "IndexStaleError",
    "NotIndexableError",
    "SearchError",
    "UniqueConflictError",
    "UniqueError",
    "UnknownAttributeWarning",
]


class IndexDefinitionError(UsageError, ValueError):
    """An index can't be made, or dropped, as it was asked for. Nothing changed."""

    path: str
    name: str
    reason: str
    text = "{path}: index {name}: {reason}"


class IndexFunctionError(UsageError, LookupError):
    """An index is over a function that this program has not given. Nothing was written."""

    path: str
    class_name: str
    function: str
    text = (
        "{path}: an index of {class_name} is over the function {function}, which has to be called "
        "for each object that is committed; call db.index({class_name}, {function}) when the "
        "program starts, or open the database with allow=['{function}']"
    )


class NotIndexableError(UsageError, TypeError):
    """A value of an attribute that has an index has no order, or can't be had of the object.

    Nothing was written. What a property or function has raised is ``__cause__``.
    """

    class_name: str
    oid: Oid
    name: str
    reason: str
    text = "{class_name} oid {oid}, at .{name}, which has an index: {reason}"


class IndexStaleError(UsageError, LookupError):
    """An index does not have the key that an object had. Nothing was written.

    Its class or the function gives other keys than it did when the index was made: so other
    entries are wrong, too.
    """

    class_name: str
    oid: Oid
    index: str
    text = (
        "{class_name} oid {oid} is not in the index {index} with the key that it had: its class, "
        "or the function, has changed; call drop_index(), then index() again"
    )


class SearchError(UsageError, TypeError):
    """``find()`` was asked in a way that can't be meant. Nothing was looked for."""

    path: str
    class_name: str
    asked: str
    instead: str
    text = "{path}: find({class_name}, {asked}) is no question; {instead}"


class UnknownAttributeWarning(UserWarning):
    """``find()`` or ``index()`` was asked for an attribute that no object of the class has.

    If objects will have it later, annotate it in the class, or give it a default there.
    """

    __module__ = HOME


class UniqueError(Error, ValueError):
    """An object was to get the key of another one in a unique index. Nothing was written.

    ``oid`` is that of the object, which a new one does not keep; ``other`` has the key.
    """

    class_name: str
    oid: Oid
    index: str
    key: str
    other: Oid
    text = (
        "{class_name} oid {oid} can't have the key {key} in the unique index {index}: oid {other} "
        "has it; give it another key, or change or discard() the other object first"
    )


class UniqueConflictError(UniqueError, TransientError):
    """A unique key was given to another object since this transaction began.

    Run again, the transaction can find that object.
    """
