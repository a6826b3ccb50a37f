"""Kinds of values: what can be shared as it is, what has to be guarded or copied.

Found by exact type, once for each. Knows no values.
"""

from __future__ import annotations

import builtins
import enum
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, Final

from dobbin_like.objects.values.refs import Identity

IMMUTABLE, REFERENCE, LIST, DICT, SET, BYTEARRAY, TUPLE, FROZENSET, OTHER = range(9)
"""Kinds of values. Up to REFERENCE they are shared as they are."""

BASES: Final[dict[int, type]] = {LIST: list, DICT: dict, SET: set, BYTEARRAY: bytearray}
"""The kinds that can be changed, and the built-in type of each."""

FRAMED: Final[dict[type, type]] = {cls: cls for cls in (Counter, OrderedDict, defaultdict, deque)}
"""Containers of a kind that are not the built-in type of it, and their guarded forms: the bases.

They may have something beside their parts.
"""

FROZEN_DICT: Final[Any] = getattr(builtins, "frozendict", None)
"""The type of dicts that can't be changed, of the kind OTHER: Python 3.15 has brought it."""

# Exact types whose equality is identity of content: 1 == True, but the types differ.
PLAIN_TYPES: Final = frozenset({int, str, bytes, bool, type(None)})

_PLACES_LIMIT: Final = 1000

IMMUTABLE_NAMES: Final = frozenset(
    (
        "builtins.complex builtins.ellipsis builtins.float builtins.range builtins.sentinel "
        "datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone "
        "decimal.Decimal fractions.Fraction ipaddress.IPv4Address ipaddress.IPv4Interface "
        "ipaddress.IPv4Network ipaddress.IPv6Address ipaddress.IPv6Interface "
        "ipaddress.IPv6Network pathlib.PosixPath pathlib.PurePath pathlib.PurePosixPath "
        "pathlib.PureWindowsPath pathlib.WindowsPath pathlib._local.PosixPath "
        "pathlib._local.PurePosixPath pathlib._local.PureWindowsPath re.Pattern uuid.UUID "
        "zoneinfo.ZoneInfo"
    ).split()
)


_ATOMS: Final = (int, float, str, bytes, bool, type(None))

SHAREABLE: Final[set[type]] = {*_ATOMS}
"""The types met so far whose values are shared as they are: a state of these alone is done."""

REFERENCES: Final[set[type]] = set()
"""Those of them that are faces of persistent objects."""


class _Kinds(dict[type, int]):
    """Kinds by exact type; each is found once."""

    def __missing__(self, cls: type) -> int:
        if getattr(cls, "_p_immutable", False):
            return IMMUTABLE  # not kept: stand-in classes are made for one loading
        if cls in PLAIN_TYPES or f"{cls.__module__}.{cls.__qualname__}" in IMMUTABLE_NAMES:
            kind = IMMUTABLE
        elif issubclass(cls, Identity):
            kind = REFERENCE
        elif issubclass(cls, (type, enum.Enum)):
            kind = IMMUTABLE
        else:
            kind = OTHER
        if kind == REFERENCE:
            REFERENCES.add(cls)
        if kind <= REFERENCE:
            SHAREABLE.add(cls)
        self[cls] = kind  # Last: after an interrupt, it is found out once more.
        return kind


KINDS: Final = _Kinds(
    {list: LIST, dict: DICT, set: SET, bytearray: BYTEARRAY, tuple: TUPLE, frozenset: FROZENSET}
)
KINDS.update({deque: LIST, Counter: DICT, OrderedDict: DICT, defaultdict: DICT})
KINDS.update(dict.fromkeys(_ATOMS, IMMUTABLE))


class Places(dict[tuple[type, ...], tuple[int, ...]]):
    """Which values of a state are of some kinds, by the types of all: states are much alike.

    Asked with a tuple of types, it answers with the indexes of those that *is_one* is true of.
    """

    def __init__(self, is_one: Callable[[type], bool]) -> None:
        super().__init__()
        self._is_one = is_one

    def __missing__(self, types: tuple[type, ...]) -> tuple[int, ...]:
        places = tuple([index for index, cls in enumerate(types) if self._is_one(cls)])
        # No class is kept that would not stay without this: most stay in KINDS, once met.
        for cls in types:
            KINDS[cls]
        if all(cls in KINDS for cls in types):
            if len(self) >= _PLACES_LIMIT:
                self.clear()  # Those that are much asked for come again.
            self[types] = places
        return places


MUTABLE: Final = Places(lambda cls: KINDS[cls] > REFERENCE)
"""Where in a state values are that can be changed, or have such parts."""


def add_guarded(guarded: type, base: type) -> None:
    """Note that *guarded* is the form that containers of type *base* have in shared state."""
    KINDS[guarded] = KINDS[base]
    if base in FRAMED:
        FRAMED[guarded] = base


def base_of(cls: type) -> type:
    """Return the type of the ordinary containers of which *cls* is one, or another form."""
    return FRAMED.get(cls) or BASES[KINDS[cls]]


def frame_of(value: Any) -> tuple[Any, ...] | None:
    """Return what a container has beside its parts; ``None``: nothing, as the built-in types."""
    base = FRAMED.get(type(value))
    if base is None:
        return None
    attributes = vars(value) if base is OrderedDict else None
    factory, size = getattr(value, "default_factory", None), getattr(value, "maxlen", None)
    return base, factory, size, attributes or None


def frame(made: Any, like: Any) -> None:
    """Give an empty container what *like*, one of the same type, has beside its parts."""
    if isinstance(made, defaultdict):
        defaultdict.__init__(made, like.default_factory)
    elif isinstance(made, deque):
        deque.__init__(made, (), like.maxlen)
    elif isinstance(made, OrderedDict):
        vars(made).update(vars(like))


def fill(made: Any, parts: Any) -> None:
    """Put *parts*, pairs if it is a dict, into an empty container; past methods that refuse it."""
    if isinstance(made, OrderedDict):
        for key, value in parts:
            OrderedDict.__setitem__(made, key, value)
    elif isinstance(made, deque):
        deque.extend(made, parts)
    elif isinstance(made, dict):
        dict.update(made, parts)
    elif isinstance(made, set):
        set.update(made, parts)
    else:
        (list if isinstance(made, list) else bytearray).extend(made, parts)
