"""Large collections in shared state: what they were, and what was changed since.

What threads share never changes. To publish one new key of a million, a new value is made
that has the old one below it and the difference above. When the difference has grown to
about the square root of what is below, or is read often, the two are folded into one. So
neither a commit nor an older snapshot costs the size of the collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, ClassVar, Final

from dobbin_like.exc import SharedValueError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.objects.values.guards import (
    SHARED_TYPES,
    SharedDict,
    SharedList,
    SharedSet,
    describe,
    make_shared,
)
from dobbin_like.objects.values.refs import ObjectRef, State, native_dict
from dobbin_like.objects.values.value_kinds import DICT, KINDS, LIST, SET

__all__ = [
    "DELTA_TYPES",
    "OPERATORS",
    "LayeredDict",
    "LayeredList",
    "LayeredSet",
    "built_in",
    "changed_items",
    "mark_stored",
]

_MISSING: Final = object()

_SMALL: Final = 64
"""Items that are copied rather than layered."""

_READS_FOR_FOLD: Final = 8
"""It is folded when it was read as often as a so-manieth of its size."""


class Layered:
    """The common part: what is below, what went and came, and both as one when asked for.

    ``gone`` has keys of ``below`` that are not there any more, or not at their old place.
    """

    __slots__ = (
        "_p_owner",
        "_p_serial",
        "_p_spare",
        "_reads",
        "below",
        "folded",
        "gone",
        "put",
        "size",
    )
    _p_together: ClassVar[bool] = False
    base: ClassVar[type]
    __hash__ = None  # type: ignore[assignment]
    _p_kind: ClassVar[str]

    def __init__(self, owner: ObjectRef, below: Any, gone: Any, put: Any, size: int) -> None:
        self._p_owner = owner
        self._p_spare = 0
        self._p_serial = NO_TID
        self.below = below
        self.gone = gone
        self.put = put
        self.size = size
        self.folded: Any = None
        self._reads = 0

    def fold(self) -> Any:
        """Return the same as one guarded built-in; from now on readers find that.

        Cost: the size, the first time.
        """
        folded = self.folded
        if folded is None:
            folded = make_shared(self.base, self._p_owner)
            folded._p_spare = self._p_spare
            folded._p_serial = self._p_serial
            self._fill(folded)
            self.folded = folded
            obj = self._p_owner()
            # A state that has the same in another form is the same state.
            if obj is not None:
                state = native_dict(obj)
                if state.get(ITEMS) is self:
                    state[ITEMS] = folded
        return folded

    def plain(self) -> Any:
        """Return it as a built-in, as collections ask of what is none."""
        return self.fold()

    def _fill(self, folded: Any) -> None:
        """Put what is below and above into *folded*, which is empty."""
        raise NotImplementedError  # Each kind has its own.

    def with_more(self, gone: Collection[Any], put: Any) -> Layered:
        """Return the same with one more change."""
        raise NotImplementedError  # Each kind has its own.

    def _read(self) -> None:
        # Not exact where threads run in parallel, and need not be.
        self._reads += 1
        if self._reads * _READS_FOR_FOLD > self.size:
            self.fold()

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fold())

    def __repr__(self) -> str:
        return repr(self.fold())

    def __getattr__(self, name: str) -> Any:
        # What is not done here is done by the built-in, which refuses changes.
        if name[:1] == "_":
            raise AttributeError(name)
        return getattr(self.fold(), name)

    def _refuse(self, *_args: object) -> Any:
        raise SharedValueError(self._p_kind, describe(self._p_owner))

    __setitem__ = __delitem__ = __ior__ = __iand__ = __isub__ = __ixor__ = _refuse
    __iadd__ = __imul__ = _refuse

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        reduced: tuple[Any, ...] = self.fold().__reduce_ex__(protocol)
        return reduced


class LayeredDict(Layered):
    """A dict with changes above it."""

    __slots__ = ()
    base = dict
    _p_kind = "dict"

    def _fill(self, folded: Any) -> None:
        dict.update(folded, self.below)
        for key in self.gone:
            dict.pop(folded, key, None)
        dict.update(folded, self.put)

    def with_more(self, gone: Collection[Any], put: Any) -> Layered:
        below = self.below
        more = {**self.put}
        for key in gone:
            more.pop(key, None)
        came = sum(key in gone or key not in self for key in put)
        more.update(put)
        all_gone = self.gone.union(key for key in gone if key in below)
        return LayeredDict(self._p_owner, below, all_gone, more, self.size - len(gone) + came)

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, _MISSING)
        if value is _MISSING:
            raise KeyError(key)
        return value

    def get(self, key: Any, default: Any = None) -> Any:
        self._read()
        value = self.put.get(key, _MISSING)
        if value is not _MISSING:
            return value
        return default if key in self.gone else self.below.get(key, default)

    def __contains__(self, key: object) -> bool:
        return self.get(key, _MISSING) is not _MISSING


class LayeredSet(Layered):
    """A set with changes above it."""

    __slots__ = ()
    base = set
    _p_kind = "set"

    def _fill(self, folded: Any) -> None:
        set.update(folded, self.below)
        set.difference_update(folded, self.gone)
        set.update(folded, self.put)

    def with_more(self, gone: Collection[Any], put: Any) -> Layered:
        below = self.below
        came = sum(member in gone or member not in self for member in put)
        more = self.put.difference(gone).union(put)
        all_gone = self.gone.union(member for member in gone if member in below)
        return LayeredSet(self._p_owner, below, all_gone, more, self.size - len(gone) + came)

    def __contains__(self, item: object) -> bool:
        self._read()
        return item in self.put or (item in self.below and item not in self.gone)


class LayeredList(Layered):
    """A list with more behind it."""

    __slots__ = ()
    base = list
    _p_kind = "list"

    def _fill(self, folded: Any) -> None:
        list.extend(folded, self.below)
        list.extend(folded, self.put)

    def __radd__(self, other: Any) -> Any:
        return other + self.fold()

    def with_more(self, gone: Collection[Any], put: Any) -> Layered:
        more = [*self.put, *put]
        return LayeredList(self._p_owner, self.below, (), more, len(self.below) + len(more))

    def __getitem__(self, index: Any) -> Any:
        self._read()
        if type(index) is int:
            below = len(self.below)
            at = index + self.size if index < 0 else index
            if 0 <= at < below:
                return self.below[at]
            if at < self.size and at >= 0:
                return self.put[at - below]
        return self.fold()[index]


def built_in(value: Any) -> Any:
    """Return *value*, but a layered one as the built-in that it stands for."""
    return value.fold() if isinstance(value, Layered) else value


def _by_folding(name: str) -> Any:
    def operate(self: Layered, *others: Any) -> Any:
        return getattr(self.fold(), name)(*map(built_in, others))

    operate.__name__ = name
    return operate


OPERATORS: Final[dict[type, str]] = {
    dict: "eq ne or ror reversed",
    set: "eq ne lt le gt ge and or sub xor rand ror rsub rxor",
    list: "eq ne lt le gt ge add mul rmul contains reversed",
}
"""The operators of the built-in types that change nothing, without their underlines."""

for _cls in (LayeredDict, LayeredSet, LayeredList):
    for _name in OPERATORS[_cls.base].split():
        setattr(_cls, f"__{_name}__", _by_folding(f"__{_name}__"))


_LAYERED: Final[dict[type, Any]] = {
    SharedDict: LayeredDict,
    SharedSet: LayeredSet,
    SharedList: LayeredList,
}

DELTA_TYPES: Final = frozenset(_LAYERED) | frozenset(_LAYERED.values())
"""The types of collections in shared state that deltas can be made of."""

SHARED_TYPES.update(_LAYERED.values())
KINDS.update({LayeredDict: DICT, LayeredSet: SET, LayeredList: LIST})


def mark_stored(state: State, serial: Tid, spare: int) -> None:
    """Note in the items of a collection which version they are of.

    Args:
        spare: The bytes of deltas that may follow before the whole is stored again.
    """
    items: Any = state.get(ITEMS)
    if type(items) in DELTA_TYPES:
        items._p_spare = max(spare, 0)
        items._p_serial = serial


def changed_items(items: Any, gone: Collection[Any], put: Any) -> Any:
    """Return what *items*, of shared state, are after a change; *items* stay as they are.

    Args:
        gone: Keys, or members, all of which *items* have.
        put: A dict, or an iterable of members or items; fit to be shared.

    Cost: what was changed, and now and then the size; on average the root of it.
    """
    items = built_in(items) if isinstance(items, Layered) and items.folded else items
    if isinstance(items, Layered):
        layered = items.with_more(gone, put)
    else:
        kind = _LAYERED[type(items)]
        nothing = kind(items._p_owner, items, frozenset(), kind.base(), len(items))
        layered = nothing.with_more(gone, put)
    depth = len(layered.gone) + len(layered.put)
    if len(layered) <= _SMALL or depth * depth > 2 * len(layered.below):
        return layered.fold()
    return layered
