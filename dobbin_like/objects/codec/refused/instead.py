"""What to store instead of a value that belongs to its process, by its kind.

No name in ``allow`` makes it storable: pickle refuses it, or a part of it.
"""

from __future__ import annotations

import io
import pickle
import types
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Coroutine,
    ItemsView,
    Iterator,
    KeysView,
    MappingView,
    ValuesView,
)
from typing import Any, Final

from dobbin_like.objects.values.refs import Identity

_ASIDE: Final = (
    "keep it under a name that begins with _v_, which is not stored, or out of the object, and "
    "make it anew where it is needed"
)
UNPICKLABLE: Final = f"give its class a __reduce__ if it can be made again; else {_ASIDE}"
_OF_PROCESS: Final = f"it belongs to this process; {_ASIDE}"
_FILE: Final = (
    "it is open in this process; store its name or what it holds, much in a PersistentFile"
)
_BY_ITEMS: Final = "it is used up when it is read; store a list of what it yields"
_BY_LIST: Final = "store list() of it"
_BY_CALL: Final = "it can't go on in another process; store what it is called with"
NO_SENTINEL: Final = (
    "what is read of it is another one; store None, a member of an enum, or a sentinel that is "
    "stored by its name"
)
_HINT: Final = "it is a type hint, which belongs to code; store its text, as repr() gives it"
_METHOD: Final = "store the object whose method it is, and call the method later"

_BY_MODULE: Final = {
    "_contextvars": "it belongs to this process; store its value, of a variable .get()",
    "_weakrefset": "store a set of the objects, or of their _p_oid",
    "weakref": "store the object that it refers to, or its _p_oid",
    **dict.fromkeys(
        (
            *("_asyncio", "_csv", "_multiprocessing", "_queue", "_socket", "_sqlite3", "_ssl"),
            *("_thread", "asyncio", "concurrent", "csv", "mmap", "multiprocessing", "posix"),
            *("queue", "select", "selectors", "socket", "sqlite3", "ssl", "subprocess"),
            "threading",
        ),
        _OF_PROCESS,
    ),
}
"""Modules whose classes are for one process, by their first name."""

_BY_NAME: Final = {
    "Cursor": _BY_ITEMS,
    "DictReader": _BY_ITEMS,
    "DirEntry": "store its path",
    "Row": "store dict() of it",
    "ScandirIterator": _BY_ITEMS,
    "reader": _BY_ITEMS,
    "WeakKeyDictionary": "store a dict by the objects, or by their _p_oid",
    "WeakValueDictionary": "store a dict of the objects, or of their _p_oid",
}
"""Classes of these modules of which something else can be stored."""

_LOGGER: Final = (
    "it belongs to the program; let the module have it, as logger = logging.getLogger(__name__)"
)
_BY_FULL_NAME: Final = {
    "logging.Logger": _LOGGER,
    "logging.LoggerAdapter": _LOGGER,
    "logging.RootLogger": _LOGGER,
    "os._Environ": "store dict() of it",
    "re.Match": "store what it has found, as its groups()",
    "weakref.finalize": _OF_PROCESS,  # It would be pickled as one that does nothing.
}
"""Classes that pickle may write, but not as what they are, or not to be of use."""

_OF_PACKAGE: Final = {"Block": _OF_PROCESS, "Feed": _OF_PROCESS, "Found": _BY_LIST}
"""Classes of this package whose instances a program holds, but can't store."""

_METHODS: Final = (
    types.MethodType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
_KINDS: Final[tuple[tuple[Any, str], ...]] = (
    (_METHODS, _METHOD),
    ((AsyncGenerator, Coroutine, types.CoroutineType), _BY_CALL),
    ((Iterator, AsyncIterator), _BY_ITEMS),
    (types.ModuleType, "store its name"),
    (types.TracebackType, "store its text, as traceback.format_tb() returns it"),
    (types.FrameType, "store its text, as traceback.format_stack() returns it"),
    (types.CodeType, "store its source"),
    (types.MappingProxyType, "store dict() of it"),
    (memoryview, "store bytes() of it"),
    ((ItemsView, KeysView, ValuesView), _BY_LIST),
    ((property, classmethod, staticmethod), "it belongs in the body of a class"),
)
"""Types of the language, the first that fits."""


_HINTS: Final = (types.GenericAlias, types.UnionType)
_NAMED: Final = frozenset(("NewType", "ParamSpec", "TypeAliasType", "TypeVar", "TypeVarTuple"))
"""Types of hints that are stored by their name, if that is allowed."""


def instead_of(value: Any) -> str:
    """Say what to store instead of *value*; empty: it is of no kind that can't be stored."""
    cls = type(value)
    if cls is object:
        return NO_SENTINEL
    top = cls.__module__.partition(".")[0]
    if top in ("annotationlib", "typing") or issubclass(cls, _HINTS):
        return "" if cls.__name__ in _NAMED else _HINT
    if top in ("builtins", "itertools", "types"):
        return next((instead for kinds, instead in _KINDS if isinstance(value, kinds)), "")
    if top in ("collections", "dobbin_like"):
        return _OF_PACKAGE.get(cls.__name__, _BY_LIST if isinstance(value, MappingView) else "")
    told = _BY_FULL_NAME.get(f"{cls.__module__}.{cls.__qualname__}")
    if told:
        return told
    is_file = top in ("_io", "tempfile")
    if (is_file or top in _BY_MODULE) and fault_of_pickle(value):
        return _FILE if is_file else _BY_NAME.get(cls.__name__, _BY_MODULE[top])
    return ""


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return 0 if isinstance(obj, Identity) else None


def fault_of_pickle(value: Any) -> str:
    """Say why pickle does not write *value*, whatever ``allow`` has; empty: it does."""
    try:
        _Pickler(io.BytesIO(), 5).dump(value)
    except Exception as error:  # noqa: BLE001  whatever user code raises
        return str(error) or type(error).__name__
    return ""
