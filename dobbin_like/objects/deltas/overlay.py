"""Large collections in a working copy: what the transaction has touched, above what is shared.

An overlay reads and changes like the built-in that it stands for, and remembers the keys
that went and the items that came. So checking a collection out and changing one item costs
nothing that grows with its size. What touches all of it, as sorting a list does, turns the
overlay into an ordinary built-in. Mutable values get copies of the thread's own when they
are asked for; whether these were changed is found out at commit.

This is what all overlays have in common; who needs one asks :mod:`.overlays`.
"""

from __future__ import annotations

import contextlib
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.deltas.layered import (
    OPERATORS,
    LayeredDict,
    LayeredSet,
    built_in,
)
from dobbin_like.objects.values.value_kinds import KINDS, REFERENCE
from dobbin_like.objects.values.values import StateComparison, thaw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Class = TypeVar("_Class", bound=type)

ALIKE: Final = (str, bytes)
"""Types of which two that are equal are the same, where 1 and True are not."""

NONE_LEFT: Final = object()
"""What a :class:`FirstKey` finds when all have gone."""


class _Base:
    """Holds the shared items for a copy of an overlay: passed on, never copied."""

    __slots__ = ("items",)
    _p_immutable = True

    def __init__(self, items: Any) -> None:
        self.items = items


class Overlay:
    """What the three have in common.

    ``gone`` and ``put`` are the difference from ``base``, the items in shared state: the keys
    that are not there any more, or not at their old place, and what came; ``own`` has the
    thread's copies of mutable values of the base, by key or index; ``working`` is the working
    copy that it is part of.
    """

    # All of them: the class is changed when it is turned into a built-in.
    __slots__ = ("_first", "_last", "base", "gone", "over", "own", "put", "working")
    kind: ClassVar[type]
    _parts: ClassVar[tuple[str, ...]] = ("gone", "put", "own")
    """What a copy for a savepoint has, beside the base."""
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, working: Any, base: Any) -> None:
        self.working = working
        self.base = base
        self.gone: dict[Any, None] = {}
        self.own: dict[Any, Any] = {}
        self.put: Any = {}

    def is_changed(self) -> bool:
        """Tell whether anything differs from the base. Cost: what was touched."""
        return not self.settle() or bool(self.gone or self.put)

    def settle(self) -> bool:
        """Make own values that were changed part of the difference; tell if that can be."""
        return not self._changed_own()

    def _changed_own(self) -> list[Any]:
        """Return the keys whose own values differ from those of the base."""
        aliases = StateComparison()
        base = self.base
        return [key for key, value in self.own.items() if not aliases.same(base[key], value)]

    def is_most(self) -> bool:
        """Tell whether the difference is no less than half of the whole."""
        return 2 * (len(self.gone) + len(self.came())) > len(self)

    def came(self) -> Any:
        """Return what came: a dict of items, or a list."""
        return self.put

    def fits(self, items: Any) -> bool:
        """Tell whether *items*, a later state, have what this touches as the base has it.

        Cost: what was touched; of a list, the whole of it.
        """
        if KINDS[type(items)] != KINDS[type(self.base)]:
            return False
        return self.settle() and self._touches_the_same(items)

    def follow(self, items: Any) -> None:
        """Let what came stand behind *items*, a later state that fits."""

    def move_to(self, items: Any) -> None:
        """Become the same difference from *items*, which fit."""
        self.follow(items)
        # Own values that were not changed may be part of what came.
        before, self.base = self.base, items
        self.own = {
            key: value for key, value in self.own.items() if self._has_same(key, before[key])
        }

    def _has_same(self, key: Any, value: Any) -> bool:
        """Tell whether the base has this value still."""
        base = self.base
        return key in base and StateComparison().same(base[key], value)

    def _touches_the_same(self, items: Any) -> bool:
        raise NotImplementedError

    def become(self, now: Any) -> bool:
        """Take on the difference between the base and *now*; tell if it has such a form."""
        raise NotImplementedError

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
        return len(self.base) - len(self.gone) + len(self.put)

    def __repr__(self) -> str:
        return repr(self.plain())

    def copy(self) -> Any:
        return self.plain()

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        # For savepoints alone; restore() gives it to its working copy.
        parts = [getattr(self, name) for name in self._parts]
        return _copied, (type(self), _Base(self.base), *parts)


def _copied(cls: Any, base: _Base, *parts: Any) -> Any:
    made = cls(None, base.items)
    for name, part in zip(cls._parts, parts, strict=True):
        setattr(made, name, part)
    return made


class _Probe:
    """Equals what a key equals, and finds out what that is."""

    __slots__ = ("found", "key")

    def __init__(self, key: Any) -> None:
        self.key = key
        self.found: Any = NONE_LEFT

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        if self.key is not other and self.key != other:
            return False
        self.found = other
        return True


def key_in(items: Any, key: Any) -> Any:
    """Return the key, or member, of *items* in shared state that equals *key*: it is there.

    What is stored of a change names that one: whoever reads it without the classes does
    not know what else equals it.

    Cost: none, as a rule. Where a comparison of the user's says that nothing but its like
    can equal it, the size.
    """
    if type(key) in ALIKE:
        return key
    probe = _Probe(key)
    if probe in items and probe.found is not NONE_LEFT:
        return probe.found
    members = set(built_in(items))
    others = members - {key}
    return next(iter(members - others), key)


class FirstKey:
    """Where the first key is, from one end, that has not gone: it is not looked for again."""

    __slots__ = ("_base", "_key", "_order", "_steps")

    def __init__(self, order: Any, base: Any) -> None:
        self._order = order
        self._base = base
        self._steps: Iterator[Any] | None = None
        self._key: Any = NONE_LEFT

    def find(self, gone: dict[Any, None]) -> Any:
        """Return the key, NONE_LEFT if all have gone. What has gone never comes back."""
        # Whoever is interrupted begins anew.
        steps, self._steps = self._steps, None
        key = self._key
        if steps is None:
            steps = each_key(self._base, self._order)
            key = next(steps, NONE_LEFT)
        while key is not NONE_LEFT and key in gone:
            key = next(steps, NONE_LEFT)
        self._key = key
        self._steps = steps
        return key


def each_key(items: Any, order: Any) -> Iterator[Any]:
    """Yield the keys or members of what is in shared state, in order, and fold nothing for it."""
    if not isinstance(items, (LayeredDict, LayeredSet)):
        return iter(order(items))
    below, gone, put = items.below, items.gone, items.put
    old = (key for key in order(below) if key not in gone)
    new = (key for key in order(put) if key in gone or key not in below)
    return chain(new, old) if order is reversed else chain(old, new)


class Turned(Overlay):
    """What an overlay becomes that was turned into a built-in, its ``base``: does as that does."""

    __slots__ = ()

    def plain(self) -> Any:
        return self.base

    def __getattribute__(self, name: str) -> Any:
        if name not in ("base", "plain", "__class__"):
            with contextlib.suppress(AttributeError):
                return getattr(object.__getattribute__(self, "base"), name)
        # Asked by a method that was turned while it ran, by a comparison of the user's.
        return object.__getattribute__(self, name)


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
