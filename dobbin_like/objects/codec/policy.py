"""Which classes may be loaded (I9).

A value type of the standard library from the list below; a persistent class, an enum, a
dataclass or a sentinel of a module that the application has imported already; or what the
application has named in ``allow``, which may then also be imported. Some names there stand for
what people store: :data:`PRESETS` and :data:`KINDS_OF_CLASSES`.
"""

from __future__ import annotations

import builtins
import copyreg
import enum
import fnmatch
import importlib
import sys
import types
from collections.abc import Callable
from typing import Any, Final

from dobbin_like.exc.classes import (
    NO_IMPORT,
    NOT_IMPORTED,
    NOT_NAMED,
    NOT_THERE,
    OF_ANOTHER_STORE,
)
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.values.refs import Identity, in_class

VALUE_TYPES: Final = {
    "array": "array",
    "builtins": (
        "bool bytearray bytes complex dict float frozenset int list object range set slice "
        "str tuple"
    ),
    "collections": "ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "ipaddress": ("IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network"),
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "types": "SimpleNamespace",
    "uuid": "UUID",
    "zoneinfo": "ZoneInfo",
}
"""The value types of the standard library that are always loaded, by module."""

if hasattr(builtins, "frozendict"):
    VALUE_TYPES["builtins"] += " frozendict"

PRESETS: Final = {
    "numpy": (
        "numpy.dtype numpy.matrix numpy.ndarray numpy.rec.recarray numpy.record "
        "numpy.ma.MaskedArray numpy.ma.core.MaskedArray numpy.ma.core._mareconstruct "
        "numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar "
        "numpy._core.numeric._frombuffer numpy.core.multiarray._reconstruct "
        "numpy.core.multiarray.scalar numpy.core.numeric._frombuffer"
    ),
}
"""What a name in ``allow`` stands for: the patterns of the names by which a package pickles."""


def _is_namedtuple(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_make")


def _is_pydantic_model(cls: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


KINDS_OF_CLASSES: Final[dict[str, Callable[[type], bool]]] = {
    "namedtuple": _is_namedtuple,
    "pydantic": _is_pydantic_model,
}
"""Names in ``allow`` for all classes of a kind, of modules that are imported already."""

SENTINEL: Final[tuple[Any, ...]] = (builtins.sentinel,) if hasattr(builtins, "sentinel") else ()
"""The type of sentinels, from Python 3.15 on."""

OWN_HOMES: Final = frozenset(
    {
        "dobbin_like.collections",
        "dobbin_like.jobs",
        "dobbin_like.indexes",
        "dobbin_like.persistent",
        "dobbin_like.safe",
    }
)
"""Modules of this package by which logs know its classes; imported when one is met."""

_VALUE_NAMES: Final = frozenset(
    (module, name) for module, names in VALUE_TYPES.items() for name in names.split()
)


def _check_name(name: Any) -> None:
    """Raise TypeError or ValueError if *name* in ``allow`` can name nothing that is loaded."""
    if not isinstance(name, str):
        given = f"{name.__module__}.{name.__qualname__}" if isinstance(name, type) else repr(name)
        text = f"allow: expected names, as 'shop.models.Cart', got {given:.60}"
        raise TypeError(text)
    if name in PRESETS or name in KINDS_OF_CLASSES or set("*?[").intersection(name):
        return
    parent, _, last = name.rpartition(".")
    module = sys.modules.get(name)
    is_module = module is not None and getattr(sys.modules.get(parent), last, None) is module
    if not parent or not last or is_module:
        package = name.removesuffix(".")
        known = ", ".join(map(repr, sorted({*PRESETS, *KINDS_OF_CLASSES})))
        text = (
            f"allow: {name!r} names no class; expected '{package}.*', '{package}.SomeClass', "
            f"or one of {known}"
        )
        raise ValueError(text)


class Policy:
    """Decides which names may be loaded (I9). ValueError, TypeError: What *allow* has is none."""

    def __init__(self, allow: tuple[str, ...]) -> None:
        for name in allow:
            _check_name(name)
        self.allow = allow
        self._patterns = [p for name in allow for p in PRESETS.get(name, name).split()]
        self._kinds = [KINDS_OF_CLASSES[name] for name in allow if name in KINDS_OF_CLASSES]

    def resolve(self, module: str, qualname: str) -> tuple[Any, str]:
        """Return ``(what the name means, "")`` or ``(None, reason)``; import what is named."""
        if (module, qualname) in _VALUE_NAMES:
            return getattr(importlib.import_module(module), qualname, None), ""
        if self.is_named(module, qualname):
            return self._resolve_named(module, qualname)
        if module in OWN_HOMES:
            importlib.import_module(module)
        if module not in sys.modules:
            return None, NOT_IMPORTED.format(module=module)
        found = _walk(module, qualname)
        if found is None:
            return None, NOT_THERE.format(module=module, qualname=qualname)
        if _is_of_another_store(found):
            return None, OF_ANOTHER_STORE
        if not self._is_declared(found):
            return None, NOT_NAMED
        return found, ""

    def _resolve_named(self, module: str, qualname: str) -> tuple[Any, str]:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001  user code: whatever it raises is the reason
            told = f"{type(error).__name__}: {error}"
            return None, NO_IMPORT.format(module=module, error=told)
        found = _walk(module, qualname)
        if found is None:
            return None, NOT_THERE.format(module=module, qualname=qualname)
        if _is_of_another_store(found):
            return None, OF_ANOTHER_STORE
        home = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
        own = home == (module, qualname) or self.is_named(str(home[0]), str(home[1]))
        own = own or _is_value_of_name(found, qualname)
        if own or self._is_declared(found):  # a class that was moved
            return found, ""
        # What a module has imported was not named: os.system by way of shop.os, say.
        return None, f"{module}.{qualname} is another name of {home[0]}.{home[1]}"

    def is_named(self, module: str, qualname: str) -> bool:
        """Return whether ``allow`` names this class or function."""
        name = f"{module}.{qualname}"
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns)

    def hint(self, found: Any, module: str, qualname: str) -> str:
        """Return what to name in ``allow`` for a class or function."""
        name = f"{module}.{qualname}"
        for preset, names in PRESETS.items():
            if name in names.split():
                return preset
        kinds = KINDS_OF_CLASSES if isinstance(found, type) else {}
        return next((kind for kind, is_one in kinds.items() if is_one(found)), name)

    def _is_declared(self, found: Any) -> bool:
        if not isinstance(found, type):
            return isinstance(found, SENTINEL)
        if issubclass(found, (Identity, enum.Enum)) or hasattr(found, "__dataclass_fields__"):
            return True
        return any(is_one(found) for is_one in self._kinds)


def is_reduced_by_own(cls: type) -> bool:
    """Return whether a class, or a function that was registered, says how values are pickled."""
    anyone: Any = object
    own = cls.__reduce__ is anyone.__reduce__ and cls.__reduce_ex__ is anyone.__reduce_ex__
    return not own or cls in copyreg.dispatch_table


def _is_of_another_store(found: Any) -> bool:
    """Return whether *found* is a persistent class, as those of ZODB and Durus, but not of ours.

    As a value it would be neither guarded nor one object for all that refer to it.
    """
    if not isinstance(found, type) or issubclass(found, Identity):
        return False
    return in_class(found, "_p_oid") is not None


def _is_value_of_name(found: Any, qualname: str) -> bool:
    """Return whether *found* is a value that says of itself that it is pickled by this name."""
    cls = type(found)
    if isinstance(found, (type, *_CALLED)) or not is_reduced_by_own(cls):
        return False
    return bool(found.__reduce_ex__(5) == qualname)


_CALLED: Final = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


def _walk(module: str, qualname: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if found is None and module == "__main__":
        found = _main_class(Persistent, qualname)
    return found


def is_somewhere(module: str, qualname: str) -> bool:
    """Return whether a module has something of this name, or may have when it is imported."""
    return module not in sys.modules or _walk(module, qualname) is not None


def _main_class(base: type, qualname: str) -> type | None:
    """Find a class of ``__main__`` that the module does not show, as in sessions and doctests."""
    subclasses: list[Any] = base.__subclasses__()
    for cls in reversed(subclasses):
        if cls.__module__ == "__main__" and cls.__qualname__ == qualname:
            return cls  # type: ignore[no-any-return]
        found = _main_class(cls, qualname)
        if found is not None:
            return found
    return None
