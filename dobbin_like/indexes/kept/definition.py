"""What one index is over, ready to be asked: which classes, and the key of an object.

A function is called only if the program has given it to ``index()`` (:data:`given`), or allows its
name: what a file names must not be run for that alone (I9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dobbin_like.exc import Error, IndexFunctionError, NotIndexableError
from dobbin_like.exc.base import TransientError
from dobbin_like.ids import DISCARDED, Oid
from dobbin_like.indexes.kept.catalog import Index, IndexEntries
from dobbin_like.indexes.kept.sortable import sortable
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.values.refs import State, native_dict
from dobbin_like.objects.values.short import short

MISSING: Final[Any] = object()

_FAILED: Final = (
    "to ask for it raised {}: {}; let it return None, or raise AttributeError to leave such an "
    "object out of the index"
)

given: dict[tuple[str, str], Callable[[Any], Any]] = {}
"""The functions that this program has given to ``index()``, by module and qualname."""


def class_names(graph: Graph, index: Index) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the names of the class that *index* is over: when it was made, and now."""
    made = index.class_name
    return made, graph.storage.names.class_name(index.class_number) or made


class Definition:
    """One index, as a process uses it. Any thread."""

    def __init__(self, graph: Graph, index: Index) -> None:
        self.entries: IndexEntries = index.entries
        self.names: tuple[str, ...] = index.names
        self.unique: bool = index.unique
        self._classes = class_names(graph, index)
        self.class_name: str = ".".join(self._classes[1])
        self.name: str = f"{self.class_name}({', '.join(self.names)})"
        self.function: tuple[str, str] | None = index.function
        self._policy = graph.classes.policy
        self._path = graph.storage.path

    def is_of(self, face: Any) -> bool:
        """Return whether the objects of a class belong into this index."""
        return any((c.__module__, c.__qualname__) in self._classes for c in face.__mro__)

    def value(self, obj: Any, name: str) -> Any:
        """Return the value of *obj*, or of what stands for it, by a name; or :data:`MISSING`."""
        if self.function is None:
            return getattr(obj, name, MISSING)
        try:
            return self._call(obj)
        except AttributeError:
            return MISSING

    def _call(self, obj: Any) -> Any:
        assert self.function is not None
        function = given.get(self.function)
        if function is None and self._policy.is_named(*self.function):
            function = self._policy.resolve(*self.function)[0]
        if function is None:
            raise IndexFunctionError(self._path, self.class_name, ".".join(self.function))
        return function(obj)

    def key(self, face: Any, oid: Oid, state: State | None) -> bytes | None:
        """Return the key of the object *oid* with a *state*; None: it is not in this index."""
        if state is None or DISCARDED in state:
            return None
        obj = standing_for(face, state)
        found = b""
        for name in self.names:
            try:
                value = self.value(obj, name)
            except (Error, TransientError, MemoryError, RecursionError):
                raise
            except Exception as error:
                reason = _FAILED.format(type(error).__name__, error)
                raise NotIndexableError(face.__name__, oid, name, reason) from error
            if value is MISSING:
                return None
            try:
                found += sortable(value)
            except TypeError as error:
                raise NotIndexableError(face.__name__, oid, name, str(error)) from None
        return found

    def told(self, obj: Any) -> str:
        """Return the key of an object, for the text of an error."""
        values = tuple(self.value(obj, name) for name in self.names)
        return short(values[0] if len(values) == 1 else values)


def standing_for(face: Any, state: State) -> Any:
    """Return an object of no database that has *state*: it is what it is, whatever is seen."""
    made = object.__new__(face)
    native_dict(made).update(state)
    return made
