"""Classes and shapes of states by the numbers that a log has for them, and back.

Loading a number gives the class only if the policy allows it (:mod:`.policy`), else a stand-in
that keeps what was stored (:mod:`.stand_in`, :mod:`dobbin_like.objects.faces.broken`). Knows
nothing of bytes; :mod:`.serialize` is next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import BuiltinFunctionType
from typing import Any, Final

from dobbin_like.contract import Names
from dobbin_like.exc import IntegrityError, MainModuleWarning, NotStorableError
from dobbin_like.exc.classes import (
    FROM_ANOTHER_STORE,
    NOT_PERSISTENT,
    NOT_THERE,
    OF_ANOTHER_STORE,
)
from dobbin_like.ids import OWN_ATTRIBUTES
from dobbin_like.objects.codec.instances.makers import maker_of
from dobbin_like.objects.codec.policy import Policy, is_somewhere
from dobbin_like.objects.codec.stand_in import StandInMeta, make_stand_in
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.faces.broken import Broken, make_broken
from dobbin_like.objects.values.shapes import Shape, shape_of
from dobbin_like.processes.reopened import reopened
from dobbin_like.processes.threaded_dict import ThreadedDict
from dobbin_like.warn_outside import warn_outside

SHAPE_LIMIT: Final = 32
"""Shapes of one class that a log keeps. Beyond, a state has its names with it."""

_NONE_YET: Final = (None, None)


class NotAllowedError(TypeError):
    """A class or function can't be stored until ``allow`` names it."""


class ClassTable:
    """Classes and shapes by the numbers under which the log knows them, and back.

    A shape is a class and the names of the attributes of a state, in order. New numbers are given
    out under the commit lock, until :meth:`confirm` or :meth:`discard`.
    """

    def __init__(self, policy: Policy, names: Names, path: str = "") -> None:
        self.policy = policy
        self.names: Names = names
        self._path = path  # Of the data, for the texts of errors.
        self._loaded: dict[int, Any] = ThreadedDict()
        self.known_numbers: dict[Any, int] = ThreadedDict()
        self._brokens: dict[int, type] = ThreadedDict()
        self._makers: dict[int, tuple[Any, Any]] = ThreadedDict()
        # The names that the loaded classes had when they were loaded.
        self._resolved: dict[int, tuple[str, str]] = ThreadedDict()
        # By number: what was loaded before a renaming.
        self._former: dict[int, Any] = ThreadedDict()
        # Classes and a number of each; those of which stored objects may have another number
        # than new ones get.
        self._one_number: dict[Any, int] = ThreadedDict()
        self.ambiguous: set[Any] = set()
        self._redefined: set[int] = set()  # Whose objects may have a class of before.
        # What shape(), number() and shape_number() know: hot paths look here first.
        self.known_shapes: dict[int, Shape] = ThreadedDict()
        self.known_shape_numbers: dict[tuple[int, tuple[str, ...]], int] = ThreadedDict()
        # How many names the log had dropped when the numbers were looked up.
        self.forgotten: int = names.forgotten
        self.new: list[tuple[int, str, str]] = []
        self.new_shapes: list[tuple[int, int, tuple[str, ...]]] = []
        self._new_objects: list[Any] = []
        self._new_counts: Counter[int] = Counter()

    # -- loading ----------------------------------------------------------

    def _name(self, number: int) -> tuple[str, str]:
        name = self.names.class_name(number)
        if name is None:
            found = f"class number {number}"
            raise IntegrityError(self._path, 0, found, "the number of a class in the log")
        return name

    def name_of(self, number: int) -> str:
        return ".".join(self._name(number))

    def load(self, number: int) -> Any:
        found = self._loaded.get(number)
        if found is None:
            name = self._name(number)
            found, reason = self._resolve(number, name)
            if found is None:  # asked again the next time: it may have been imported
                return make_stand_in(name, number, reason)
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
            now = self._name(number)
            if now == name:
                return found, ""
            name = now  # renamed meanwhile: follow() may have come before

    def follow(self, numbers: Iterable[int]) -> None:
        """Forget what was loaded by the old names of *numbers*.

        Called after new names were applied. An object in memory keeps its class until its state
        is read again, and whatever class it has, it is stored under the number it had.
        """
        for number in numbers:
            if self._resolved.get(number) != self._name(number):
                cls = self._loaded.pop(number, None)
                self._brokens.pop(number, None)
                if cls is not None:
                    self._former[number] = cls
                    if isinstance(cls, type):
                        self.ambiguous.add(cls)
                for known, its_number in self.known_numbers.copy().items():
                    if its_number == number:
                        self.known_numbers.pop(known, None)

    def _note(self, cls: Any, number: int, name: tuple[str, str]) -> None:
        """Note ambiguous names: two numbers may have one name, or a name may be an alias."""
        if not isinstance(cls, type):
            return
        own = cls.__module__, cls.__qualname__
        if own != name or self._one_number.setdefault(cls, number) != number:
            self.ambiguous.add(cls)

    def known_maker(self, number: int) -> Any:
        """Return what :meth:`maker` has returned for the class that is loaded; or None."""
        real, maker = self._makers.get(number, _NONE_YET)
        return maker if self._loaded.get(number) is real else None

    def maker(self, number: int, real: Any) -> Any:
        """Return what stands for *real*, loaded as *number*, while states are decoded."""
        maker = maker_of(real)
        self._makers[number] = real, maker
        return maker

    def load_persistent(self, number: int) -> Any:
        """Return the persistent class with *number*, or a broken one."""
        cls = self.load(number)
        if _is_subclass(cls, Persistent):
            return cls
        broken = self._brokens.get(number)
        if broken is None:
            name = self._name(number)
            broken = self._brokens[number] = make_broken(*name, number)
        return broken

    def is_broken(self, number: int) -> bool:
        return number in self._brokens

    def shape(self, number: int) -> Shape | None:
        """Return a shape that is in the log; ``None``: *number* is a class."""
        shape = self.known_shapes.get(number)
        if shape is None:
            found = self.names.shape(number)
            if found is not None:
                shape = self.known_shapes[number] = shape_of(*found)
        return shape

    def is_redefined(self, cls: Any) -> bool:
        """Return whether objects may have another class of the name of *cls*."""
        module, qualname = cls.__module__, cls.__qualname__
        number = self.names.class_number(module, qualname)
        there: Any = None if number is None else self._loaded.get(number)
        if there is None or number in self._redefined:
            return there is not None
        if there is cls or (_is_subclass(cls, Persistent) and there is cls._p_faces.plain):
            return False
        return isinstance(there, type) and (there.__module__, there.__qualname__) == (
            module,
            qualname,
        )

    def has_all_shapes(self, number: int) -> bool:
        """Return whether every state of the class *number* has a shape."""
        return self.names.shape_count(number) < SHAPE_LIMIT

    def reason(self, number: int) -> str:
        """Say why the class with *number* is not loaded."""
        found, reason = self.policy.resolve(*self._name(number))
        if found is not None and not (isinstance(found, type) and issubclass(found, Persistent)):
            return NOT_PERSISTENT
        return reason

    # -- storing ----------------------------------------------------------

    def number(self, cls: Any) -> int:
        """Return the number of a class or function, a new one if need be, or raise TypeError."""
        number = self.known_numbers.get(cls)
        if number is not None:
            return number
        if isinstance(cls, StandInMeta) or _is_subclass(cls, Broken):
            return self._number_kept(int(cls._p_number))
        module, qualname = cls.__module__, getattr(cls, "__qualname__", cls.__name__)
        if module == "pathlib._local":  # where CPython 3.13 alone keeps them
            module = "pathlib"
        number = self.names.class_number(module, qualname)
        loaded = None if number is None else self._loaded.get(number)
        if loaded is not cls:  # Else values of it were read, and may be stored again.
            self._check(cls, module, qualname)
            if number is not None and loaded is not None and not _is_subclass(cls, Persistent):
                # Its module was reloaded: values are loaded as cls from now on, and those of
                # before, which are in memory, can be stored as they could.
                self._loaded[number] = cls
                self.known_numbers[loaded] = number
        if number is None:
            number = self._next_number()
            self.new.append((number, module, qualname))
            self._new_objects.append(cls)
        if self._loaded.get(number) is not cls:
            # Of a module that was reloaded, or known at once: what can't be guarded is loaded
            # before it is in the log.
            self._load_as(number, cls, (module, qualname))
        self._note(cls, number, (module, qualname))
        self.known_numbers[cls] = number
        return number

    def _load_as(self, number: int, cls: Any, name: tuple[str, str]) -> None:
        if _is_subclass(cls, Persistent) and self._loaded.get(number) is not None:
            self._redefined.add(number)
        self._resolved[number] = name
        self._loaded[number] = cls

    def _number_kept(self, number: int) -> int:
        """Return *number*, by which something was loaded; a name that was dropped comes again."""
        if self.forgotten:
            there = (*self.names.rows().classes, *self.new)
            if all(number != row[0] for row in there):
                self.new.append((number, *self._name(number)))
        return number

    def number_by_name(self, obj: Any, module: str, qualname: str) -> int:
        """Return the number of a value that is pickled by its name, or raise TypeError."""
        number = self.names.class_number(module, qualname)
        if number is not None and self._loaded.get(number) is obj:
            return number
        for new, *name in self.new:
            if name == [module, qualname]:
                return new
        self._check(obj, module, qualname)
        if number is None:
            number = self._next_number()
            self.new.append((number, module, qualname))
        self._resolved[number] = (module, qualname)
        self._loaded[number] = obj
        return number

    def shape_number(self, class_number: int, attributes: tuple[str, ...]) -> int:
        """Return the number of the shape of a state with these *attributes*, a new one if need be.

        *class_number* itself: there is none, and the state has to be written with its names.
        """
        number = self.known_shape_numbers.get((class_number, attributes))
        return self._find_shape(class_number, attributes) if number is None else number

    def _find_shape(self, class_number: int, attributes: tuple[str, ...]) -> int:
        if not all(type(name) is str for name in attributes):
            return class_number
        for name in attributes:
            if name[:3] == "_p_" and name != "_p_version" and name not in OWN_ATTRIBUTES:
                reason = "names with _p_ are reserved; take another one"
                class_name = self._resolved[class_number][1]
                raise NotStorableError(class_name, None, f".{name}", reason)
        number = self.names.shape_number(class_number, attributes)
        if number is None:
            known = self.names.shape_count(class_number) + self._new_counts[class_number]
            if known >= SHAPE_LIMIT:
                return class_number
            number = self._next_number()
            self.new_shapes.append((number, class_number, attributes))
            self._new_counts[class_number] += 1
        self.known_shape_numbers[class_number, attributes] = number
        return number

    def _next_number(self) -> int:
        return self.names.next_number + len(self.new) + len(self.new_shapes)

    def _check(self, cls: Any, module: str, qualname: str) -> None:
        fault = _fault_of_value(cls, qualname)
        if fault:
            raise TypeError(fault)
        kind = "class" if isinstance(cls, type) else "function" if callable(cls) else "value"
        name = f"the {kind} {module}.{qualname} could not be loaded back: "
        if "<locals>" in qualname:
            text = name + "it is defined inside a function; define it at the top of a module"
            raise TypeError(text)
        found, reason = self.policy.resolve(module, qualname)
        if found is None:
            raise self._refusal(name, cls, module, qualname, reason)
        if found is not cls:
            again = "; was the module reloaded?"
            if isinstance(cls, type) and isinstance(found, type):
                again = (
                    ", a class that was defined later: the module was reloaded, or the cell of a "
                    f"notebook was run again; make the object anew, by the {qualname} of now"
                )
            text = f"{name}the name means something else{again}"
            raise TypeError(text)
        if module == "__main__":
            text = (
                f"{qualname} is a class of __main__: other programs can't load it; "
                f"define it in a module of its own"
            )
            warn_outside(text, MainModuleWarning)

    def _refusal(self, name: str, cls: Any, module: str, qualname: str, reason: str) -> TypeError:
        if reason == OF_ANOTHER_STORE:
            return TypeError(f"{name}{reason}; {FROM_ANOTHER_STORE}")
        is_missing = reason == NOT_THERE.format(module=module, qualname=qualname)
        if is_missing and module != "builtins":
            # No name in allow would help: it was made by a call, or its module was reloaded.
            where = f"define it at the top of a module, by the name {qualname}"
            if qualname.endswith("]"):  # pydantic leaves it in the module where it is first made.
                where = f"make it at the top of that module, as in Kept = {qualname}"
            return TypeError(f"{name}{reason}, by which it would be loaded; {where}")
        if not is_somewhere(module, qualname):
            text = f"{name}{module} has nothing of this name, so it can't be stored"
            return TypeError(text)
        hint = self.policy.hint(cls, module, qualname)
        return NotAllowedError(f"{name}{reason}; open the database with allow=['{hint}']")

    def look_up_again(self) -> None:
        """Forget by which numbers classes and shapes are stored: the log has dropped names."""
        forgotten = self.names.forgotten
        self.known_numbers.clear()
        self.known_shape_numbers.clear()
        self.forgotten = forgotten  # Last: after an interrupt, it is done again.

    def confirm(self) -> None:
        """Keep the new numbers: they are in the log."""
        if self.new or self.new_shapes:
            self.new = []
            self.new_shapes = []
            self._new_objects = []
            self._new_counts = Counter()

    def discard(self) -> None:
        """Take the new numbers back: they are not in the log.

        May be repeated after an interrupt, also if they are in the log: then they are found there.
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


def _fault_of_value(value: Any, qualname: str) -> str:
    """Say what to store instead of a *value* that no name can stand for; empty: one may."""
    if value is reopened:
        return "a database, a log or a safe is no value; store its path"
    if isinstance(value, BuiltinFunctionType) and getattr(value, "__module__", None) is None:
        return f"{qualname} is a method of a value; store the value, and call its method later"
    return ""
