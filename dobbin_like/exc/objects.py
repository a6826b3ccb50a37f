"""Errors of objects, and of the values in them: the program made a wrong call."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Final, Self

from dobbin_like.exc.base import HOME, UsageError
from dobbin_like.ids import Oid

__all__ = [
    "CheckedOutElsewhereError",
    "FixedClassError",
    "InvalidObjectReference",
    "LostChangeWarning",
    "NoSuchAttributeError",
    "NotPersistentError",
    "NotStorableError",
    "ObjectNotFound",
    "ReadCycleError",
    "ReadOnlyError",
    "RootError",
    "SharedStateChangedError",
    "SharedValueError",
]

_PATH_SHOWN: Final = 200
_OTHER: Final = "another thread or task, for itself alone"


class ReadOnlyError(UsageError, RuntimeError):
    """An attribute was set or deleted on an object that is not checked out; it is unchanged.

    The first sentence is the same for every object, because programs and documents compare it.
    ``elsewhere``: another thread, or task, has it checked out.
    """

    class_name: str
    oid: Oid | None
    name: str
    elsewhere: bool = False
    text = "Can't set attribute in read-only mode."

    def __str__(self) -> str:
        who = (
            "A new " + self.class_name if self.oid is None else f"{self.class_name} oid {self.oid}"
        )
        if self.elsewhere and self.oid is None:
            return (
                f"{self.text} {who} is checked out by {_OTHER}; change it there, or call "
                "checkout(obj) when the transaction of that one has ended."
            )
        if self.elsewhere:
            return (
                f"{self.text} {who} is checked out by {_OTHER}; call checkout(obj) in this one, "
                f"in a transaction of its own, then change .{self.name}."
            )
        return (
            f"{self.text} {who} is not checked out; call checkout(obj), then change .{self.name}."
        )


class CheckedOutElsewhereError(UsageError, RuntimeError):
    """A new object is checked out by another thread or task, whose transaction has not ended.

    A new object has no copies: it belongs to one of them until then. It is unchanged.
    """

    class_name: str
    text = (
        "a new {class_name} is checked out by another thread or task, and has no copies; change "
        "it there, or check it out when the transaction of that one has ended"
    )


class NoSuchAttributeError(UsageError, AttributeError):
    """An attribute was used that other object databases have, or a reserved name. Nothing changed.

    ``instead`` says what there is in its place.
    """

    class_name: str
    name: str
    instead: str
    text = "{class_name} has no {name}: {instead}"


class FixedClassError(UsageError, TypeError):
    """An object was to be of another class; it is unchanged."""

    class_name: str
    oid: Oid | None
    new_class: str

    def __str__(self) -> str:
        who = (
            "a new " + self.class_name if self.oid is None else f"{self.class_name} oid {self.oid}"
        )
        return (
            f"{who} can't become an instance of {self.new_class}: "
            "the class of an object is stored with it; make a new object, or rename the class of "
            "all by db.rename_class()"
        )


class SharedValueError(UsageError, RuntimeError):
    """A list, dict, set or bytearray in shared state was to be changed; it is unchanged.

    So it is with a new collection that is not checked out; it has no ``owner``. ``elsewhere``:
    another thread, or task, has the owner checked out. ``by_key``: the owner is a tree, whose
    iterators yield what is shared, also after a checkout.
    """

    kind: str
    owner: str
    elsewhere: bool = False
    by_key: bool = False

    def __str__(self) -> str:
        if not self.owner:
            return (
                f"this new {self.kind} is not checked out; call checkout() on it, then change it, "
                "or give its first items to its constructor"
            )
        if self.by_key:
            return (
                f"this {self.kind} belongs to {self.owner}, and is in shared state; call "
                f"checkout() on the tree, then read the {self.kind} by its key, tree[key], and "
                "change that: what an iterator yields can't be changed"
            )
        where = f"checked out by {_OTHER}" if self.elsewhere else "in shared state"
        here = " in this one, in a transaction of its own" if self.elsewhere else ""
        if self.owner.startswith(f"{self.kind} oid "):  # A collection is an object itself.
            return f"{self.owner} is {where}; call checkout() on it{here}, then change it"
        return (
            f"this {self.kind} belongs to {self.owner}, which is {where}; call checkout() on that "
            f"object{here}, then read the {self.kind} from it again and change that; to change "
            "only a copy, take that of copy.deepcopy()"
        )


class SharedStateChangedError(UsageError, RuntimeError):
    """The shared state of an object was changed without a checkout, by what no guard can stop.

    Found in a database with ``guard="check"``: by a commit or the end of a block, which is refused
    then, or by ``close()``.
    """

    class_name: str
    oid: Oid
    name: str
    text = (
        "{class_name} oid {oid}: .{name} was changed in shared state since it was stored or read; "
        "all threads of this process see the change, and it is never stored; call checkout() on "
        "the object, then read the value from it again and change that"
    )


class LostChangeWarning(UserWarning):
    """A list, dict or set was changed after the end of the transaction that has stored it.

    Also one in a dataclass or the like. Attributes that are set on a value are not told.
    """

    __module__ = HOME


class NotStorableError(UsageError, TypeError):
    """A value can't be stored, or could not be loaded back. Nothing was written.

    ``path`` leads from the object to the value, written as in Python: ``.handlers[3].callback``.
    """

    class_name: str
    oid: Oid | None
    path: str
    reason: str

    def __str__(self) -> str:
        oid = "a new object" if self.oid is None else f"oid {self.oid}"
        return f"{self.class_name} ({oid}), at {_short_path(self.path)}: {self.reason}"


def _short_path(path: str) -> str:
    """Return *path* as it can be read: of a value that is nested too deeply, its two ends."""
    return path if len(path) <= _PATH_SHOWN else f"{path[:80]} ... {path[-60:]}"


class NotPersistentError(UsageError, TypeError):
    """An object that is not an instance of ``Persistent`` was given where one is expected."""

    class_name: str
    expected: str = ""
    text = "{class_name} is not a subclass of Persistent; derive the class from it"

    @classmethod
    def of(cls, obj: object, of_many: str = "") -> Self:
        """Return the error for *obj*, which may be a class.

        *of_many* is what is expected if it is a collection of objects, or an iterator.
        """
        itself = _expected_of_proxy(obj)
        if itself:
            return cls(f"a {type(obj).__name__}", itself)
        if hasattr(type(obj), "set_root"):
            return cls(f"a {type(obj).__name__}", "an object of it, as its root: db.root")
        if isinstance(obj, type):
            return cls(f"the class {obj.__name__}")
        # The guarded list of an object in shared state is a list to those who read the error.
        kinds = (kind.__name__ for kind in (dict, list, set) if isinstance(obj, kind))
        name = next(kinds, type(obj).__name__)
        return cls(f"a {name}", of_many) if of_many and _has_objects(obj) else cls(name)

    def __str__(self) -> str:
        name = self.class_name
        if self.expected:
            return f"{name} was given, expected {self.expected}"
        if name.startswith("the class "):
            return f"{name} was given, expected an instance of it"
        if name == "NoneType":
            return (
                "None was given, expected an instance of Persistent; a database has None as its "
                "root until db.set_root(obj) has set one"
            )
        if name in ("dict", "list", "set"):
            return (
                f"{name} is not a subclass of Persistent: it is stored with the object that it "
                f"belongs to, which is checked out for it; Persistent{name.title()} is an object "
                "of its own"
            )
        return super().__str__()


def _expected_of_proxy(obj: object) -> str:
    """Say what is expected in place of *obj* if it only stands for an object."""
    itself = "the object itself, for which it stands"
    if hasattr(type(obj), "_get_current_object"):
        return f"{itself}: its _get_current_object()"
    if issubclass(type(obj), (weakref.ProxyType, weakref.CallableProxyType)):
        return f"{itself}; a weakref.ref(obj) gives it when it is called"
    try:
        is_proxy = obj.__class__ is not type(obj) and hasattr(obj.__class__, "_p_faces")
    except Exception:  # noqa: BLE001  what it stands for is gone
        is_proxy = True
    return itself if is_proxy else ""


def _has_objects(obj: object) -> bool:
    if isinstance(obj, Iterator):  # What it would yield is not ours to take.
        return True
    try:
        items = iter(obj) if isinstance(obj, Iterable) else iter(())
        return hasattr(type(next(items, None)), "_p_faces")
    except Exception:  # noqa: BLE001  a class may refuse to be iterated over
        return False


class InvalidObjectReference(UsageError, ValueError):
    """An object of one database was used in another. Nothing was written."""

    class_name: str
    oid: Oid | None
    place: str
    text = (
        "{place}: {class_name} oid {oid} belongs to another database; store a copy of it, or "
        "its oid"
    )


class RootError(UsageError, ValueError):
    """The database has a root already, or the object can't be its root. Nothing changed."""

    reason: str
    text = "can't set the root: {reason}"


class ObjectNotFound(UsageError, LookupError):
    """The database has no object with this oid."""

    oid: Oid
    text = "there is no object with oid {oid}"

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.oid else f"{text}: the database has no root"


class ReadCycleError(UsageError, RuntimeError):
    """The hash of a key, or what makes a value again, needs the very part that is just being read.

    ``name`` is the attribute that is needed; empty: the whole object.
    """

    class_name: str
    oid: Oid
    name: str
    text = (
        "{class_name} oid {oid} is being read, and a hash or a comparison of what it holds, or "
        "what makes a value again, needs .{name} of it; let __hash__, __eq__ or __setstate__ need "
        "less"
    )
