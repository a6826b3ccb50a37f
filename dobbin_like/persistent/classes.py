"""Which classes may be loaded, and what stands for those that may not.

A state names classes by numbers of the log's class table. Loading a number
gives the class only if the policy allows it (I9): a value type of the
standard library from the list below; a persistent class, an enum or a
dataclass of a module that the application has imported already; or what the
application has named in ``allow``, which may then also be imported.
Everything else becomes a stand-in that keeps what was stored.
Knows nothing of bytes; :mod:`.serialize` is next.
"""

from __future__ import annotations

import copyreg
import enum
import fnmatch
import importlib
import sys
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from dobbin_like.exc import MainModuleWarning, UnloadedClassError
from dobbin_like.persistent.base import Persistent
from dobbin_like.persistent.broken import Broken, make_broken
from dobbin_like.persistent.entry import Identity
from dobbin_like.persistent.shapes import Shape, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable

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

_VALUE_NAMES: Final = frozenset(
    (module, name) for module, names in VALUE_TYPES.items() for name in names.split()
)


SHAPE_LIMIT: Final = 32
"""Shapes of one class that a log keeps. Beyond, a state has its names with it."""


class Names(Protocol):
    """The tables of names of a log, as far as they are committed."""

    @property
    def next_class_number(self) -> int: ...

    def class_name(self, number: int) -> tuple[str, str]: ...

    def class_number(self, module: str, qualname: str) -> int | None: ...

    def shape(self, number: int) -> tuple[int, tuple[str, ...]] | None: ...

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int | None: ...

    def shape_count(self, class_number: int) -> int: ...


class StandInMeta(type):
    """Tells a stand-in that was called from one that was made by ``__new__``: both are kept."""

    _p_name: tuple[str, str]
    _p_sealed: bool

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        _check_loading(cls)
        made: Any = cls.__new__(cls, *args, **kwargs)  # type: ignore[arg-type]
        made._p_how = "call"
        return made


class StandIn(metaclass=StandInMeta):
    """A value whose class is not loaded: keeps how it was made, and is stored back so.

    Whoever touches it gets an
    :class:`~dobbin_like.exc.UnloadedClassError` that says what to do. The
    class is made for one loading and sealed after it.
    """

    __slots__ = ("_p_args", "_p_how", "_p_items", "_p_kwargs", "_p_pairs", "_p_state")

    _p_immutable = True
    _p_sealed = False
    _p_args: tuple[Any, ...]
    _p_how: str
    _p_items: list[Any]
    _p_kwargs: dict[str, Any]
    _p_name: tuple[str, str]
    _p_number: int
    _p_pairs: list[tuple[Any, Any]]
    _p_reason: str
    _p_state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self: Any = super().__new__(cls)
        self._p_how = "new"
        self._p_args = args
        self._p_kwargs = kwargs
        self._p_state = None
        self._p_items = []
        self._p_pairs = []
        return self

    def __setstate__(self, state: Any) -> None:
        _check_loading(type(self))
        self._p_state = state

    def append(self, item: Any) -> None:
        _check_loading(type(self))
        self._p_items.append(item)

    def extend(self, items: Any) -> None:
        _check_loading(type(self))
        self._p_items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        _check_loading(type(self))
        self._p_pairs.append((key, value))

    def __eq__(self, other: object) -> bool:
        # As a key it has to be found by another one that was loaded from the same bytes.
        return isinstance(other, StandIn) and self._p_parts() == other._p_parts()

    def __hash__(self) -> int:
        try:
            return hash((self._p_number, self._p_args))
        except TypeError:
            return hash(self._p_number)

    def _p_parts(self) -> list[Any]:
        """Return what was stored, to be compared."""
        parts = (self._p_args, self._p_kwargs, self._p_state, self._p_items, self._p_pairs)
        return [self._p_number, self._p_how, *parts]

    def __reduce_ex__(self, protocol: Any) -> Any:
        cls = type(self)
        rest = (self._p_state, iter(self._p_items) if self._p_items else None)
        rest += (iter(self._p_pairs) if self._p_pairs else None,)  # type: ignore[assignment]
        if self._p_how == "call":
            return cls, self._p_args, *rest
        if self._p_kwargs:
            return copyreg.__newobj_ex__, (cls, self._p_args, self._p_kwargs), *rest  # type: ignore[attr-defined]
        return copyreg.__newobj__, (cls, *self._p_args), *rest  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UnloadedClassError(*self._p_name, self._p_reason)

    def _p_refuse(self, *_args: Any) -> Any:
        raise UnloadedClassError(*self._p_name, self._p_reason)

    __call__ = __contains__ = __getitem__ = __iter__ = __len__ = _p_refuse
    __int__ = __float__ = __add__ = __lt__ = __le__ = __gt__ = __ge__ = _p_refuse

    def __repr__(self) -> str:
        return f"<stand-in for {'.'.join(self._p_name)}: {self._p_reason}>"


def _check_loading(cls: Any) -> None:
    if cls._p_sealed:
        raise UnloadedClassError(*cls._p_name, cls._p_reason)


class Policy:
    """Decides which names may be loaded (I9)."""

    def __init__(self, allow: tuple[str, ...]) -> None:
        self.allow = allow

    def resolve(self, module: str, qualname: str) -> tuple[Any, str]:
        """Return ``(what the name means, "")`` or ``(None, reason)``; import what is named."""
        if (module, qualname) in _VALUE_NAMES:
            return getattr(importlib.import_module(module), qualname, None), ""
        if self.is_named(module, qualname):
            return self._resolve_named(module, qualname)
        if module not in sys.modules:
            return None, f"the module {module} is not imported"
        found = _walk(module, qualname)
        if found is None:
            return None, f"the module {module} has no {qualname}"
        if not isinstance(found, type) or not _is_declared(found):
            return None, "it is no persistent class, enum or dataclass, and not named in allow"
        return found, ""

    def _resolve_named(self, module: str, qualname: str) -> tuple[Any, str]:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001  user code: whatever it raises is the reason
            return None, f"importing {module} raised {type(error).__name__}: {error}"
        found = _walk(module, qualname)
        if found is None:
            return None, f"{module} has no {qualname}"
        home = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
        own = home == (module, qualname) or self.is_named(str(home[0]), str(home[1]))
        if own or (isinstance(found, type) and _is_declared(found)):  # a class that was moved
            return found, ""
        # What a module has imported was not named: os.system by way of shop.os, say.
        return None, f"{module}.{qualname} is another name of {home[0]}.{home[1]}"

    def is_named(self, module: str, qualname: str) -> bool:
        """Tell whether the application has named this class or function in ``allow``."""
        name = f"{module}.{qualname}"
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.allow)


def _is_declared(cls: type) -> bool:
    return issubclass(cls, (Identity, enum.Enum)) or hasattr(cls, "__dataclass_fields__")


def _walk(module: str, qualname: str) -> Any:
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if found is None and module == "__main__":
        found = _main_class(Persistent, qualname)
    return found


def _main_class(base: type, qualname: str) -> type | None:
    """Find a persistent class of ``__main__`` that its module does not show.

    Interactive sessions and doctests have classes of ``__main__`` that are
    not found in the module of that name.
    """
    subclasses: list[Any] = base.__subclasses__()
    for cls in reversed(subclasses):
        if cls.__module__ == "__main__" and cls.__qualname__ == qualname:
            return cls  # type: ignore[no-any-return]
        found = _main_class(cls, qualname)
        if found is not None:
            return found
    return None


class ClassTable:
    """Classes, and shapes of states, by the numbers under which the log knows them, and back.

    A shape is a class and the names of the attributes that a state of it has, in
    order: names stand once in the log, not in every state. Numbers for what is new are
    given out under the commit lock; they count from :meth:`confirm` on, and
    :meth:`discard` takes them back.
    """

    def __init__(self, policy: Policy, names: Names) -> None:
        self.policy = policy
        self._names = names
        self._loaded: dict[int, Any] = {}
        self.known_numbers: dict[Any, int] = {}
        self._brokens: dict[int, type] = {}
        # The names that the loaded classes had when they were loaded.
        self._resolved: dict[int, tuple[str, str]] = {}
        # By number: what was loaded before a renaming.
        self._former: dict[int, Any] = {}
        # Classes and a number of each; those that the log knows by other numbers, too.
        self._one_number: dict[Any, int] = {}
        self._ambiguous: set[Any] = set()
        # What shape(), number() and shape_number() know: who asks for every object looks here
        # first.
        self.known_shapes: dict[int, Shape] = {}
        self.known_shape_numbers: dict[tuple[int, tuple[str, ...]], int] = {}
        self.new: list[tuple[int, str, str]] = []
        self.new_shapes: list[tuple[int, int, tuple[str, ...]]] = []
        self._new_objects: list[Any] = []
        self._new_counts: Counter[int] = Counter()

    # -- loading ----------------------------------------------------------

    def load(self, number: int) -> Any:
        """Return the class with *number*, or a stand-in class for it."""
        found = self._loaded.get(number)
        if found is None:
            name = self._names.class_name(number)
            found, reason = self._resolve(number, name)
            if found is None:  # asked again the next time: it may have been imported
                content = {
                    "__slots__": (),
                    "_p_name": name,
                    "_p_number": number,
                    "_p_reason": reason,
                }
                return StandInMeta("StandIn", (StandIn,), content)
        return found

    def _resolve(self, number: int, name: tuple[str, str]) -> tuple[Any, str]:
        while True:
            found, reason = self.policy.resolve(*name)
            if found is None:  # the class of before serves a program that has no other
                found = self._former.get(number)
            if found is None:
                return None, reason
            self._resolved[number] = name
            self._loaded[number] = found
            self._note(found, number, name)
            now = self._names.class_name(number)
            if now == name:
                return found, ""
            name = now  # renamed meanwhile: follow() may have come before

    def follow(self, numbers: Iterable[int]) -> None:
        """*numbers* may have got other names in the log; what was loaded by the old is forgotten.

        Called after the log has applied it. An object in memory keeps its class until its state
        is read anew, and whatever class it has, it is stored under the number it had.
        """
        for number in numbers:
            if self._resolved.get(number) != self._names.class_name(number):
                cls = self._loaded.pop(number, None)
                self._brokens.pop(number, None)
                if cls is not None:
                    self._former[number] = cls
                    if isinstance(cls, type):
                        self._ambiguous.add(cls)
                for known, its_number in self.known_numbers.copy().items():
                    if its_number == number:
                        self.known_numbers.pop(known, None)

    def _note(self, cls: Any, number: int, name: tuple[str, str]) -> None:
        """Two numbers may have come to one name, or one of the names be an alias."""
        if not isinstance(cls, type):
            return
        own = cls.__module__, cls.__qualname__
        if own != name or self._one_number.setdefault(cls, number) != number:
            self._ambiguous.add(cls)

    def is_ambiguous(self, cls: Any) -> bool:
        """Tell whether stored objects of *cls* may have another number than new ones get."""
        return cls in self._ambiguous

    def load_persistent(self, number: int) -> Any:
        """Return the persistent class with *number*, or a broken one."""
        cls = self.load(number)
        if _is_subclass(cls, Persistent):
            return cls
        broken = self._brokens.get(number)
        if broken is None:
            name = self._names.class_name(number)
            broken = self._brokens[number] = make_broken(*name, number)
        return broken

    def is_broken(self, number: int) -> bool:
        """Tell whether an object with this class number was met, its class not being there."""
        return number in self._brokens

    def shape(self, number: int) -> Shape | None:
        """Return a shape that is in the log; ``None``: *number* is a class's."""
        shape = self.known_shapes.get(number)
        if shape is None:
            found = self._names.shape(number)
            if found is not None:
                shape = self.known_shapes[number] = shape_of(*found)
        return shape

    def reason(self, number: int) -> str:
        """Say why the class with *number* is not loaded."""
        found, reason = self.policy.resolve(*self._names.class_name(number))
        if found is not None and not (isinstance(found, type) and issubclass(found, Persistent)):
            return "it is not a subclass of Persistent any more"
        return reason

    # -- storing ----------------------------------------------------------

    def number(self, cls: Any) -> int:
        """Return the number of a class or function, a new one if need be.

        Raises:
            TypeError: It could not be loaded back; the text is the reason.
        """
        number = self.known_numbers.get(cls)
        if number is not None:
            return number
        if isinstance(cls, StandInMeta) or _is_subclass(cls, Broken):
            return int(cls._p_number)
        module, qualname = cls.__module__, cls.__qualname__
        if module == "pathlib._local":  # where CPython 3.13 alone keeps them
            module = "pathlib"
        self._check(cls, module, qualname)
        number = self._names.class_number(module, qualname)
        if number is None:
            number = self._next_number()
            self.new.append((number, module, qualname))
            self._new_objects.append(cls)
            # Known at once: what can't be guarded is loaded before it is in the log.
            self._resolved[number] = (module, qualname)
            self._loaded[number] = cls
        self._note(cls, number, (module, qualname))
        self.known_numbers[cls] = number
        return number

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int:
        """Return the number of the shape of a state with these *attributes*, a new one if need be.

        Returns:
            *class_number* itself if there is none: the state is to be written with its names.
        """
        number = self.known_shape_numbers.get((class_number, attributes))
        return self._find_shape(class_number, attributes) if number is None else number

    def _find_shape(self, class_number: int, attributes: tuple[str, ...]) -> int:
        if not all(type(name) is str for name in attributes):
            return class_number
        number = self._names.shape_number(class_number, attributes)
        if number is None:
            known = self._names.shape_count(class_number) + self._new_counts[class_number]
            if known >= SHAPE_LIMIT:
                return class_number
            number = self._next_number()
            self.new_shapes.append((number, class_number, attributes))
            self._new_counts[class_number] += 1
        self.known_shape_numbers[class_number, attributes] = number
        return number

    def _next_number(self) -> int:
        return self._names.next_class_number + len(self.new) + len(self.new_shapes)

    def _check(self, cls: Any, module: str, qualname: str) -> None:
        kind = "class" if isinstance(cls, type) else "function"
        name = f"the {kind} {module}.{qualname} could not be loaded back: "
        if "<locals>" in qualname:
            text = name + "it is defined inside a function; define it at the top of a module"
            raise TypeError(text)
        found, reason = self.policy.resolve(module, qualname)
        if found is None:
            text = name + reason + f"; open the database with allow=['{module}.{qualname}']"
            raise TypeError(text)
        if found is not cls:
            text = name + "the name means something else; was the module reloaded?"
            raise TypeError(text)
        if module == "__main__":
            text = (
                f"{qualname} is a class of __main__: other programs can't load it; "
                f"define it in a module of its own"
            )
            warnings.warn(text, MainModuleWarning, stacklevel=2)

    def confirm(self) -> None:
        """The new numbers are in the log."""
        if self.new or self.new_shapes:
            self.new = []
            self.new_shapes = []
            self._new_objects = []
            self._new_counts = Counter()

    def discard(self) -> None:
        """The new numbers did not get into the log: take them back.

        May be repeated after an interrupt, also if they did get into the log: then they
        are found there.
        """
        new = {number for number, _, _ in self.new}
        for number in new:
            self._loaded.pop(number, None)
        for cls in self._new_objects:
            self.known_numbers.pop(cls, None)
            if self._one_number.get(cls) in new:
                self._one_number.pop(cls, None)
        for _, class_number, attributes in self.new_shapes:
            self.known_shape_numbers.pop((class_number, attributes), None)
        self.confirm()


def _is_subclass(cls: Any, base: type) -> bool:
    return isinstance(cls, type) and issubclass(cls, base)
