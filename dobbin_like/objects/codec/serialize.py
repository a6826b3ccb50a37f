"""States to bytes and back.

A state is a pickle: of the tuple of its values where the log knows their names as a shape, else
of the dict. There is not a single global name in it: persistent objects are written as ``(oid,
class number)``, a list of objects of one class as ``(oids, class number)``, classes and functions
as their number, members of enums as ``(class number, name)``. So renaming a class touches one
entry of the class table, and loading resolves nothing that :mod:`.classes` does not allow (I9).
"""

from __future__ import annotations

import copyreg
import enum
import io
import pickle
import types
from collections.abc import Callable, Sequence
from sys import intern
from typing import Any, Final, Protocol

from dobbin_like.exc import UnloadedClassError
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.instances.fields import IS_BY_ORDER, by_name, complete
from dobbin_like.objects.codec.instances.makers import IS_CHECKED, MakerMeta, made, make_array
from dobbin_like.objects.codec.instructions import StateError, as_file
from dobbin_like.objects.codec.policy import SENTINEL, is_reduced_by_own
from dobbin_like.objects.codec.refused.instead import NO_SENTINEL
from dobbin_like.objects.codec.stand_in import StandIn, StandInMeta, stand_in_member
from dobbin_like.objects.deltas.delta import Delta
from dobbin_like.objects.faces.classes.metaclass import PersistentMeta
from dobbin_like.objects.values.reduced import REDUCERS
from dobbin_like.objects.values.refs import State
from dobbin_like.objects.values.shapes import Shape
from dobbin_like.objects.values.value_kinds import KINDS, OTHER, PLAIN_TYPES, REFERENCE

PROTOCOL: Final = 5
"""The pickle protocol of states: part of the format, whatever Python writes it."""

HELPERS: Final = frozenset(
    {
        ("array", "_array_reconstructor"),
        ("builtins", "Ellipsis"),
        ("builtins", "NotImplemented"),
        ("re", "_compile"),
    }
)
"""The only global names in a state: how the standard library pickles these value types."""

_BY_NAME: Final = (types.FunctionType, types.BuiltinFunctionType, *SENTINEL)
"""Types of values that are a name of their module."""

_DELTAS: Final = [[int, list, dict], [int, list, list]]
ATOMS: Final = PLAIN_TYPES | {float}
"""Types of values that pickle writes by itself as an :class:`Encoder` would."""


class References(Protocol):
    """Knows the objects: the graph when reading, the changes of a commit when writing."""

    def reference(self, obj: Any) -> tuple[Oid, int]:
        """Return ``(oid, class number)`` of a persistent object, a new one included."""


_WRITTEN_AS_THEY_ARE: Final = {*ATOMS, tuple, list, dict, set, frozenset}
"""Types whose values are never written by a number, which is asked of every value."""


class Encoder(pickle.Pickler):
    """Turns states into bytes. One for the states of a commit; one thread."""

    def __init__(self, references: References, classes: ClassTable) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, PROTOCOL)
        self._references = references
        self._classes = classes
        # The last object that was asked how it is pickled, and what it said: it is asked once.
        self._reduced: tuple[Any, Any] = (None, NotImplemented)
        self._met: set[int] = set()  # The ids of those that were asked; the memo keeps them alive.
        self.met_checked: bool = False
        """Whether a class was met that only a maker makes an instance of as it has to be."""

    def encode(self, state: State | tuple[Any, ...]) -> bytes:
        """Return the bytes of a state, or of its values. Errors: see :mod:`.refused.culprit`."""
        file = self._file
        file.seek(0)
        file.truncate()
        self.clear_memo()  # What failed has left something.
        self.dump(state)
        self.clear_memo()  # It keeps what was written alive.
        return file.getvalue()

    def persistent_id(self, obj: Any) -> Any:
        cls = type(obj)
        if cls in _WRITTEN_AS_THEY_ARE:
            return None
        if KINDS[cls] == REFERENCE:
            return self._references.reference(obj)
        if isinstance(obj, type):
            return self._class(obj)
        if isinstance(obj, _BY_NAME):
            if (obj.__module__, obj.__name__) in HELPERS:
                return None
            return self._classes.number(obj)
        if isinstance(obj, enum.Enum):
            number = self._classes.number(cls)
            return (number, obj.value, 0) if isinstance(obj, enum.Flag) else (number, obj.name)
        if isinstance(obj, StandIn):
            return (self._classes.number(cls), *obj._p_args) if obj._p_how == "member" else None
        return self._by_name(obj) if KINDS[cls] == OTHER and is_reduced_by_own(cls) else None

    def _class(self, cls: Any) -> int:
        if isinstance(cls, PersistentMeta):
            cls = cls._p_faces.plain
        if IS_CHECKED[cls] or IS_BY_ORDER[cls]:
            self.met_checked = True
        return self._classes.number(cls)

    def _by_name(self, obj: Any) -> int | None:
        """Return the number of a value that is pickled by its name, ``None`` if it is not."""
        if id(obj) in self._met:
            return None
        reduce = copyreg.dispatch_table.get(type(obj))
        name = obj.__reduce_ex__(PROTOCOL) if reduce is None else reduce(obj)
        if isinstance(name, str):
            module = _module_of(obj, name)
            if (module, name) in HELPERS:
                return None
            return self._classes.number_by_name(obj, module, name)
        self._met.add(id(obj))
        self._reduced = obj, name
        return None

    def clear_memo(self) -> None:
        super().clear_memo()
        self._met.clear()

    def reducer_override(self, obj: Any) -> Any:
        reduced, self._reduced = self._reduced, (None, NotImplemented)
        said = reduced[1] if reduced[0] is obj else NotImplemented
        if type(obj) is object:  # It has nothing but its identity, which would be lost.
            raise pickle.PicklingError(NO_SENTINEL)
        reduce = REDUCERS[type(obj)]
        if reduce is None:
            return by_name(obj) if IS_BY_ORDER[type(obj)] else said
        return reduce(obj, said)


def _module_of(obj: Any, name: str) -> str:
    """Return the module in which pickle looks for the name of a value."""
    module: str | None = getattr(obj, "__module__", None)
    if module is None:
        try:
            module = vars(pickle)["whichmodule"](obj, name)
        except pickle.PicklingError:  # Since 3.14, of a value that no module has by this name.
            module = "__main__"
    return module


class _Pickler(pickle.Pickler):
    """A pickler that takes any callable for its ``persistent_id``."""


class _Parts(list[bytes]):
    """What a pickler has written: at once, but for large values."""

    write = list.append


class FlatEncoder:
    """Turns the values of flat states into bytes, without a call for each value. One thread."""

    def __init__(self) -> None:
        # What stands among the values for references, and how these are written.
        self.references: dict[object, tuple[Any, int]] = {}
        self._parts = _Parts()
        self._pickler = _Pickler(self._parts, PROTOCOL)
        # The values are hashable, and equal to none of the keys: pickle looks them up itself.
        self._pickler.persistent_id = self.references.get  # type: ignore[method-assign]

    def encode(self, values: tuple[Any, ...]) -> bytes:
        """Return the bytes of the values of a state."""
        parts = self._parts
        parts.clear()
        self._pickler.clear_memo()
        self._pickler.dump(values)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class ClassAsValueError(Exception):
    """A state has a class among its values: makers stand for it."""


class Decoder(pickle.Unpickler):
    """Turns the bytes of one state into the state.

    While it is decoded, makers stand for classes. What is left of them in the state are classes
    that are values: raises ClassAsValueError, unless ``leaves_makers``.
    """

    stand_ins: Sequence[StandInMeta] = ()
    leaves_makers = True
    _handed = 0
    _made_before = 0
    _late_before = 0

    def __init__(self, data: bytes, ghost: Callable[[Oid, int], Any], classes: ClassTable) -> None:
        super().__init__(as_file(data))
        self._ghost = ghost
        self._classes = classes

    def state(self, shape: Shape | None) -> State:
        """Return the state, a dict of the caller's own, or raise StateError."""
        try:
            loaded = self.load()
            if self._handed or self.stand_ins:
                self._finish()
        finally:
            if self._handed:
                del made.late[self._late_before :]
        if shape is None:
            if type(loaded) is not dict:
                raise StateError(type(loaded).__name__, "a dict of attributes")
            # The interpreter's fast way to an attribute compares names by identity.
            return {intern(n) if type(n) is str else n: v for n, v in loaded.items()}
        if type(loaded) is not tuple or len(loaded) != len(shape.names):
            size = f" of {len(loaded)}" if type(loaded) is tuple else ""
            found = type(loaded).__name__ + size
            raise StateError(found, f"a tuple of {len(shape.names)} values")
        return shape.state(loaded)

    def delta(self) -> Delta:
        """Return the delta that the bytes hold, or raise StateError."""
        # As state() does: a method for both would be one call more for each object that is read.
        try:
            loaded = self.load()
            if self._handed or self.stand_ins:
                self._finish()
        finally:
            if self._handed:
                del made.late[self._late_before :]
        if type(loaded) is not tuple or [*map(type, loaded)] not in _DELTAS:
            raise StateError(type(loaded).__name__, "a delta: tid, removed, added")
        return Delta(*loaded)

    def _finish(self) -> None:
        for value in made.late[self._late_before :] if self._handed else ():
            complete(value, type(value))
        for cls in self.stand_ins:
            cls._p_sealed = True
        if self._handed:
            # One state may be decoded in the middle of another: each counts its own.
            used, made.count = made.count - self._made_before, self._made_before
            if used != self._handed and not self.leaves_makers:
                raise ClassAsValueError

    def persistent_load(self, pid: Any) -> Any:
        if type(pid) is int:
            return self._named(pid)
        if len(pid) == 2 and type(pid[1]) is int:
            oid, number = pid
            if type(oid) is tuple:
                return [self._ghost(one, number) for one in oid]
            return self._ghost(Oid(oid), number)
        cls = self._class(pid[0])
        try:
            return cls[pid[1]] if len(pid) == 2 else cls(pid[1])
        except Exception:  # noqa: BLE001  _missing_() of an enum is user code
            return stand_in_member(cls, *pid)

    def _class(self, number: int) -> Any:
        cls = self._classes.load(number)
        if isinstance(cls, StandInMeta):
            self.stand_ins = [*self.stand_ins, cls]
        return cls

    def _named(self, number: int) -> Any:
        """Return what may be called in place of a class or function."""
        maker = self._classes.known_maker(number)
        if maker is None:
            real = self._class(number)
            if isinstance(real, StandInMeta):
                return real
            maker = self._classes.maker(number, real)
        if type(maker) is MakerMeta:
            if not self._handed:
                self._made_before, self._late_before = made.count, len(made.late)
            self._handed += 1
        return maker

    @classmethod
    def of(
        cls,
        ghost: Callable[[Oid, int], Any],
        classes: ClassTable,
        persistent_load: Callable[[Any, Any], Any],
    ) -> Callable[[Any], Any]:
        """Return a decoder class that takes only a file, and so is made at the speed of C.

        *persistent_load* is the method of that name, which may call the one here.
        """
        content = {
            "__init__": pickle.Unpickler.__init__,
            "leaves_makers": False,
            "_ghost": staticmethod(ghost),
            "_classes": classes,
            "persistent_load": persistent_load,
        }
        made: Callable[[Any], Any] = type(cls.__name__, (cls,), content)
        return made

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in HELPERS:
            if module == "array":
                return make_array
            return super().find_class(module, name)
        reason = "a state never names it like this; the data is damaged or was tampered with"
        raise UnloadedClassError(module, name, reason)


class OwnDecoder(Decoder):
    """Decodes what an Encoder has written just now: classes may be there themselves."""

    def _named(self, number: int) -> Any:
        return self._class(number)


class CheckingDecoder(Decoder):
    """Decodes what an Encoder has written just now as all others will; see ``met_checked``."""

    leaves_makers = False
