"""Which attributes the objects of a class have, to warn of a search for another one.

The names of the attributes of stored states are in the tables of the storage, so that nothing has
to be read for it. They are asked only after a search that has found nothing, and has looked at an
object without the attribute.
"""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable
from importlib import import_module
from types import FunctionType
from typing import Any, Final

from dobbin_like.exc import SearchError
from dobbin_like.ids import OWN_ATTRIBUTES
from dobbin_like.search.questions import is_kind
from dobbin_like.store import Store

_MOST_NAMES: Final = 12

_INSTEAD: Final = {
    "eq": "{name}=value",
    "exact": "{name}=value",
    "gt": "{name}=above(value)",
    "gte": "{name}=at_least(value)",
    "in": "{name}=one_of(*values)",
    "lt": "{name}=below(value)",
    "lte": "{name}=at_most(value)",
    "range": "{name}=between(low, high)",
    "startswith": "{name}=starts_with(text)",
}
"""What other libraries write behind two underscores, and what is asked here."""

_LOOKUPS: Final = {*_INSTEAD, "contains", "endswith", "icontains", "iexact", "isnull", "ne", "not"}


def wrong_name(store: Store, cls: type, name: str) -> str | None:
    """Say why *cls* has no attribute *name*; None: it has one, or nobody can tell.

    Cost: A look at the names of all attributes in the log.
    """
    method = getattr(cls, name, None)
    if isinstance(method, FunctionType):
        return f".{name} of {cls.__name__} is a method, which equals no value; make it a property"
    if _is_declared(cls, name):
        return None
    there = _stored_names(store, cls)
    if not there or name in there:
        return None
    from difflib import get_close_matches

    close = get_close_matches(name, there, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    told = sorted(there)
    more = ", ..." if len(told) > _MOST_NAMES else ""
    return (
        f"no {cls.__name__} has an attribute {name!r}, they have "
        f"{', '.join(told[:_MOST_NAMES])}{more}{hint}"
    )


def _is_declared(cls: type, name: str) -> bool:
    """Tell whether objects may have *name* by their class, whatever is stored."""
    if hasattr(cls, name) or hasattr(cls, "__getattr__"):
        return True
    try:
        return any(name in _annotations(each) for each in cls.__mro__)
    except Exception:  # noqa: BLE001  of the class: nobody can tell
        return True


def _annotations(cls: type) -> Container[str]:
    if not _ARE_LATE:
        return getattr(cls, "__annotations__", ())
    late: Any = import_module("annotationlib")
    # As texts, which most annotations have that can't be evaluated.
    return late.get_annotations(cls, format=late.Format.STRING)  # type: ignore[no-any-return]


_ARE_LATE: Final = sys.version_info >= (3, 14)
"""Whether annotations are evaluated when they are asked for."""


def _stored_names(store: Store, cls: type) -> set[str]:
    """Return the attributes of the stored objects of *cls*; none: nobody can tell."""
    classes, names = store.graph.classes, store.storage.names
    rows = names.rows()
    numbers = set()
    for number, *_ in rows.classes:
        found = classes.load(number)
        if isinstance(found, type) and is_kind(found, cls):
            if not classes.has_all_shapes(number):
                return set()
            numbers.add(number)
    there = {name for _, number, shape in rows.shapes if number in numbers for name in shape}
    return there.difference(OWN_ATTRIBUTES, ("_p_version",))


# -- questions as other libraries ask them -----------------------------------------------------


def is_foreign(name: str) -> bool:
    """Tell whether *name* looks like a question of another library: ``age__gt``, ``-age``."""
    if "__" not in name:
        return not name.isidentifier()
    head, _, tail = name.partition("__")
    return bool(head.strip("_") and tail.strip("_"))


def refuse_foreign(store: Store, cls: type, name: str, asked: str, objects: Iterable[Any]) -> None:
    """Raise SearchError unless there is an attribute of that name; *objects* are all there are."""
    if _is_declared(cls, name):
        return
    has_objects = False
    for obj in objects:
        if hasattr(obj, name):
            return
        has_objects = True
    head, _, tail = name.rpartition("__")
    if name.isidentifier() and not has_objects and tail not in _LOOKUPS:
        return  # They may have it when they come.
    raise SearchError(store.storage.path, cls.__name__, asked, _instead(head, tail))


def _instead(head: str, name: str) -> str:
    plain = name.strip("+- ").partition(" ")[0]
    if not name.isidentifier() and plain.isidentifier():
        return f"call find(..., order_by={plain!r}, reverse=True) for the greatest first"
    if name in _INSTEAD:
        return f"ask {_INSTEAD[name].format(name=head)}, with what is in dobbin_like.indexes"
    return (
        "ask for the value of an attribute, or for a condition of dobbin_like.indexes; for "
        "anything else, go through what is found, or give the class a property"
    )
