"""Large collections in a working copy: what the transaction has touched, above what is shared.

An overlay reads and changes like the built-in that it stands for, and remembers the keys
that went and the items that came. So checking a collection out and changing one item costs
nothing that grows with its size. What touches all of it, as sorting a list does, turns the
overlay into an ordinary built-in. Mutable values get copies of the thread's own when they
are asked for; whether these were changed is found out at commit.

This is what all overlays have in common; who needs one asks :mod:`.overlays`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from dobbin_like.persistent.delta import ITEMS
from dobbin_like.persistent.kinds import KINDS, REFERENCE
from dobbin_like.persistent.layered import DELTA_TYPES, OPERATORS, built_in
from dobbin_like.persistent.values import Aliases, thaw

if TYPE_CHECKING:
    from collections.abc import Callable

_Class = TypeVar("_Class", bound=type)


class _Base:
    """Holds the shared items for a copy of an overlay: passed on, never copied."""

    __slots__ = ("items",)
    _p_immutable = True

    def __init__(self, items: Any) -> None:
        self.items = items


class Overlay:
    """What the three have in common.

    ``gone`` and ``put`` are the difference from ``base``, the items in shared state;
    ``own`` has the thread's copies of mutable values of the base, by key or index;
    ``working`` is the working copy that it is part of.
    """

    __slots__ = ("base", "gone", "own", "put", "size", "working")
    kind: ClassVar[type]
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, working: Any, base: Any) -> None:
        self.working = working
        self.base = base
        self.gone: dict[Any, None] = {}
        self.own: dict[Any, Any] = {}
        self.put: Any = {}
        self.size = len(base)

    def is_changed(self) -> bool:
        """Tell whether anything differs from the base. Cost: what was touched."""
        return bool(self.gone or self.put or self._changed_own())

    def _changed_own(self) -> list[Any]:
        """Return the keys whose own values differ from those of the base."""
        aliases = Aliases()
        base = self.base
        return [key for key, value in self.own.items() if not aliases.same(base[key], value)]

    def settle(self) -> bool:
        """Make own values that were changed part of the difference; tell if that can be."""
        for key in self._changed_own():
            self.put[key] = self.own.pop(key)
        return True

    def is_most(self) -> bool:
        """Tell whether the difference is no less than half of the whole."""
        return 2 * (len(self.gone) + len(self.put)) > self.size

    def came(self) -> Any:
        """Return what came: a dict of items, or a list."""
        return self.put

    def fits(self, items: Any) -> bool:
        """Tell whether *items*, a later state, have what this touches as the base has it.

        Cost: what was touched; of a list, the whole of it.
        """
        if type(items) not in DELTA_TYPES or items._p_together:
            return False
        return self.settle() and self._touches_the_same(items)

    def move_to(self, items: Any) -> None:
        """Become the same difference from *items*, which fit."""
        self.base = items
        self.own.clear()
        self.size = len(items) - len(self.gone) + self._came()

    def _touches_the_same(self, items: Any) -> bool:
        raise NotImplementedError

    def become(self, now: Any) -> bool:
        """Take on the difference between the base and *now*; tell if it has such a form."""
        raise NotImplementedError

    def _came(self) -> int:
        """Return how many of what came are not at a place that the base has."""
        base, gone = self.base, self.gone
        return sum(key in gone or key not in base for key in self.put)

    def plain(self) -> Any:
        """Return all of it as an ordinary built-in with values of the thread's own.

        Cost: the size.
        """
        raise NotImplementedError

    def _whole(self) -> Any:
        """Turn into an ordinary built-in, which takes the place of the overlay; return it.

        Whoever holds the overlay still gets at the built-in by it.
        """
        whole = self.plain()
        self.working[ITEMS] = self.base = whole
        self.__class__ = Turned
        return whole

    def _value(self, key: Any, value: Any) -> Any:
        """Return a value of the base as this thread may have it."""
        if KINDS[type(value)] <= REFERENCE:
            return value
        if key in self.own:
            return self.own[key]
        self.own[key] = value = thaw(value, self.working.memo)
        return value

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        return repr(self.plain())

    def copy(self) -> Any:
        return self.plain()

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # For savepoints alone; restore() gives it to its working copy.
        state = (_Base(self.base), self.gone, self.own, self.put, self.size)
        return _copied, (type(self), *state)


def _copied(cls: Any, base: _Base, gone: Any, own: Any, put: Any, size: int) -> Any:
    made = cls.__new__(cls)
    made.base, made.gone, made.own, made.put, made.size = base.items, gone, own, put, size
    return made


class Turned(Overlay):
    """What an overlay becomes that was turned into a built-in, its ``base``: does as that does."""

    __slots__ = ()

    def plain(self) -> Any:
        return self.base

    def __getattribute__(self, name: str) -> Any:
        if name in ("base", "plain", "__class__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "base"), name)


def _by_base(name: str) -> Any:
    def operate(self: Turned, *others: Any) -> Any:
        result = getattr(self.base, name)(*others)
        return self if result is self.base else result

    return operate


for _name in (
    "contains delitem getitem setitem len iter reversed repr eq ne lt le gt ge add radd mul rmul "
    "iadd imul and or sub xor rand ror rsub rxor iand ior isub ixor"
).split():
    setattr(Turned, f"__{_name}__", _by_base(f"__{_name}__"))


def stands_for(kind: int, *queries: str) -> Callable[[_Class], _Class]:
    """Return a decorator: overlays of this class are of *kind*, as their built-in is.

    What changes nothing and asks for all of it, the operators and *queries*, is asked of
    the whole.
    """

    def complete(cls: Any) -> Any:
        KINDS[cls] = kind
        operators = {*OPERATORS[cls.kind].split()} - {"contains", "reversed"}
        for name in (*(f"__{operator}__" for operator in operators), *queries):
            setattr(cls, name, _by_whole(name))
        return cls

    return complete


def _by_whole(name: str) -> Any:
    def operate(self: Overlay, *others: Any) -> Any:
        others = tuple(o.plain() if isinstance(o, Overlay) else built_in(o) for o in others)
        return getattr(self.plain(), name)(*others)

    operate.__name__ = name
    return operate
