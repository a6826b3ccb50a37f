"""States read without loading a class of the application: for checks, packing, search and repair.

Everything but the value types of the standard library is a stand-in here, so that a reader
needs none of the modules that wrote the log and runs none of their code (I9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

from dobbin_like.contract import Names
from dobbin_like.ids import DELTA, Oid, Tid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.instances.makers import MakerMeta
from dobbin_like.objects.codec.policy import VALUE_TYPES, Policy
from dobbin_like.objects.codec.refused.culprit import parts_of
from dobbin_like.objects.codec.serialize import Decoder, Encoder
from dobbin_like.objects.codec.shown.long_list import long_list
from dobbin_like.objects.codec.shown.preview import LARGE, PreviewDecoder, without_large
from dobbin_like.objects.codec.stand_in import StandIn
from dobbin_like.objects.deltas.delta import ITEMS, Delta, apply_delta, chain_of
from dobbin_like.objects.values.value_kinds import FROZEN_DICT

STREAM_CLASS: Final = ("dobbin_like.persistent", "PersistentStream")
"""The name under which a log knows the class of stored streams."""


class Reference:
    """Stands for a persistent object that a state refers to."""

    __slots__ = ("class_number", "oid")

    def __init__(self, oid: Oid, class_number: int) -> None:
        self.oid: Oid = oid
        self.class_number: int = class_number

    def __repr__(self) -> str:
        return f"<oid {self.oid}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is Reference and other.oid == self.oid

    def __hash__(self) -> int:
        return hash(self.oid)

    def _p_parts(self) -> tuple[Oid]:
        """Let states be compared by what they refer to; see StateComparison."""
        return (self.oid,)


class ValueTypesOnly(Policy):
    """Loads no class of an application, not even an imported one."""

    def resolve(self, module: str, qualname: str) -> tuple[Any, str]:
        if qualname in VALUE_TYPES.get(module, "").split():
            return super().resolve(module, qualname)
        return None, "no class is loaded here"


class StateReader:
    """Decodes states of one log. Raises whatever decoding raises: the data are damaged."""

    def __init__(self, names: Names, path: str = "") -> None:
        self._table = ClassTable(ValueTypesOnly(()), names, path)
        self._references: list[Reference] = []
        # Names of the classes that values of the last state are of, but for known value types.
        self.met: frozenset[tuple[str, str]] = frozenset()

    def read(self, number: int, data: bytes) -> tuple[dict[str, Any], list[Reference]]:
        """Return the state, references in place of objects, and the references.

        *number* is that of its class or shape. Of a delta, the state is the items that it adds.
        """
        decoder = self._decoder(data)
        if number & DELTA:
            return {ITEMS: decoder.delta().added}, self._references
        return self._state(number, decoder), self._references

    def state(self, number: int, data: bytes) -> dict[str, Any]:
        """Return the state, references in place of objects. *number* is not that of a delta."""
        return self._state(number, Decoder(data, Reference, self._table))

    def preview(self, number: int, data: bytes) -> dict[str, Any]:
        """Return the state to be looked at, with a Cut for each large text and large bytes.

        What is made of bytes, an array for one, is whole. Cost: the state without those.
        """
        small, cuts = without_large(data)
        if cuts:
            try:
                decoder = PreviewDecoder(small, Reference, self._table, cuts)
                return self._state(number, decoder)
            except Exception:  # noqa: BLE001  something is made of what was cut, or it is damaged
                del small
        return self.state(number, data)

    def latest(
        self,
        oid: Oid,
        stored: Any,
        version_before: Any,
        read: Callable[[int, bytes], dict[str, Any]],
    ) -> dict[str, Any]:
        """Return the state of a stored version with the deltas that it consists of.

        *read* is :meth:`state` or :meth:`preview`. Raises MissingBaseError: a version is missing.
        Memory: that of the state, where :meth:`whole` writes it and somebody reads it again.
        """
        deltas, _, base = chain_of(oid, stored, self.delta, version_before)
        state = read(base.number, base.data)
        for delta in deltas:
            apply_delta(state.get(ITEMS), delta)
        return state

    def _state(self, number: int, decoder: Decoder) -> dict[str, Any]:
        state = decoder.state(self._table.shape(number))
        self.met = frozenset([cls._p_name for cls in decoder.stand_ins])
        if not all(isinstance(name, str) for name in state):
            text = "the state has keys that are no names of attributes"
            raise TypeError(text)
        return state

    def long_list(self, oid: Oid, stored: Any, version_before: Any) -> Iterator[Any] | None:
        """Return the items of a version that is a long list of references, one by one; else None.

        What deltas have appended follows. Raises as :meth:`latest`. Cost: a look at the bytes.
        """
        deltas, _, base = chain_of(oid, stored, self.delta, version_before)
        if len(base.data) < LARGE:
            return None
        shape = self._table.shape(base.number)
        if shape is None or shape.names != (ITEMS,):
            return None
        if any(delta.removed or type(delta.added) is not list for delta in deltas):
            return None
        found = long_list(base.data)
        if found is None:
            return None
        references = (Reference(Oid(oid), number) for oid, number in found)
        return chain(references, *[delta.added for delta in deltas])

    def base(self, data: bytes) -> Tid:
        """Return the base of a delta. Raises whatever decoding raises: it is no delta."""
        return self._decoder(data).delta().base

    def whole(
        self, oid: Oid, stored: Any, version_before: Any, keys: set[Oid] | None = None
    ) -> tuple[int, bytes]:
        """Return number and bytes of a stored version with the deltas that it consists of.

        *keys* gets the objects that are keys, or members, in any version: these may be asked for a
        hash in reading. Raises MissingBaseError if a version is missing.
        """
        deltas, _, base = chain_of(oid, stored, self.delta, version_before)
        if not deltas:
            return stored.number, stored.data
        state, _ = self.read(base.number, base.data)
        items: Any = state.get(ITEMS)
        for delta in deltas:
            if keys is not None and not isinstance(items, list):
                keys.update(_objects_in([*items, *delta.removed, *delta.added]))
            apply_delta(items, delta)
        shaped = self._table.shape(base.number) is not None
        written = tuple(state.values()) if shaped else state
        return base.number, Rewriter(NO_OBJECTS, self._table).encode(written)

    def delta(self, stored: Any) -> Delta:
        """Return the delta that a version is. Raises whatever decoding raises: it is none."""
        return self._decoder(stored.data).delta()

    def _decoder(self, data: bytes) -> Decoder:
        self._references = []
        return Decoder(data, self._reference, self._table)

    def with_names(self, data: bytes, names: tuple[str, ...] = ()) -> bytes:
        """Return the bytes of a state whose shape is lost, with names made up for its values.

        *names* are those that such objects usually have; they are taken if their number fits.
        """
        values = self._decoder(data).load()
        if type(values) is not tuple:
            return data
        if len(names) != len(values):
            names = tuple([f"lost_{index}" for index in range(len(values))])
        state = dict(zip(names, values, strict=True))
        return Rewriter(NO_OBJECTS, self._table).encode(state)

    def without_hashes(
        self, state: dict[str, Any], *, values: bool = True
    ) -> tuple[bytes, list[str]]:
        """Return the bytes of what is decoded of a state without a hash, and names of the rest.

        The rest holds objects, or values of the application, as keys or members. Without *values*,
        it is all that holds values of the application.
        """
        left_out = _asks_for_hashes if values else _asks_for_anything
        rest = [name for name, value in state.items() if left_out(value)]
        part = {name: value for name, value in state.items() if name not in rest}
        return Rewriter(NO_OBJECTS, self._table).encode(part), rest

    def _reference(self, oid: Oid, class_number: int) -> Reference:
        reference = Reference(oid, class_number)
        self._references.append(reference)
        return reference


def _asks_for_hashes(value: Any) -> bool:
    parts = (part for _, part in _ways({"": value}))
    return any(any(map(_has_own_hash, part)) for part in parts if _has_hashed(part))


def _has_hashed(value: Any) -> bool:
    return isinstance(value, (dict, set, frozenset)) or type(value) is FROZEN_DICT


def _asks_for_anything(value: Any) -> bool:
    parts = (part for _, part in _ways({"": value}))
    return _asks_for_hashes(value) or any(map(_is_made_by_its_class, parts))


def _has_own_hash(key: Any) -> bool:
    inside = _inside_key(key)
    if inside is not None:
        return any(map(_has_own_hash, inside))
    return type(key) is Reference or _is_made_by_its_class(key)


def _is_made_by_its_class(value: Any) -> bool:
    return isinstance(value, StandIn) and value._p_how != "member"


def _objects_in(keys: Iterable[Any]) -> Iterator[Oid]:
    for key in keys:
        if type(key) is Reference:
            yield key.oid
        else:
            yield from _objects_in(_inside_key(key) or ())


def _inside_key(key: Any) -> Iterable[Any] | None:
    """Return what is asked for its hash when *key*, a built-in container, is; None: it is none."""
    if type(key) is FROZEN_DICT:
        return chain(key, key.values())
    return key if isinstance(key, (tuple, frozenset)) else None


NO_OBJECTS: Final[Any] = None
"""There are none in a state that was read here: references stand for them."""


class Rewriter(Encoder):
    """Writes states that were read here; references are written as they were."""

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) is Reference:
            return obj.oid, obj.class_number
        return super().persistent_id(obj._p_real if type(obj) is MakerMeta else obj)


def way_to(state: dict[str, Any], target: int) -> str:
    """Return the way from an object to its first reference to oid *target*, as in Python.

    Empty if it leads through values whose parts are not known here.
    """
    return next((way for way, value in _ways(state) if _leads_to(value, target)), "")


def _leads_to(value: Any, target: int) -> bool:
    return type(value) is Reference and value.oid == target


def stand_ins_in(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the stand-ins in a state, each after the way to it."""
    return (pair for pair in _ways(state) if isinstance(pair[1], StandIn))


def references_in(state: dict[str, Any]) -> Iterator[tuple[str, Reference]]:
    """Yield the references in a state, each after the way to it."""
    return (pair for pair in _ways(state) if type(pair[1]) is Reference)


def _ways(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield all that is in a state, each after the way to it; a value once.

    One part at a time: a collection may have a million of them.
    """
    seen: set[int] = set()
    above = [_below("", ((f".{name}", value) for name, value in state.items()))]
    while above:
        way, value = next(above[-1], ("", None))
        if not way:
            above.pop()
        elif type(value) in _SINGLE:
            yield way, value
        elif id(value) not in seen:
            seen.add(id(value))
            yield way, value
            above.append(_below(way, _steps(value)))


_SINGLE: Final = frozenset({Reference, int, str, float, bool, bytes, type(None)})
"""What has no parts; there may be many, and which were seen is not kept."""


def _below(way: str, steps: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    return ((way + step, part) for step, part in steps)


def _steps(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, StandIn):
        _, _, args, _, state, items, pairs = value._p_parts()
        attributes = state if isinstance(state, dict) else {}
        named = [(f".{name}", part) for name, part in attributes.items()]
        rest: list[Any] = [*args, *items, *pairs]
        return named + [("(...)", part) for part in rest]
    return parts_of(value)
