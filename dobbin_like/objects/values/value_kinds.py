"""Kinds of values: what can be shared as it is, what has to be guarded or copied.

Found by exact type, once for each. Knows no values.
"""

from __future__ import annotations

import enum
from typing import Final

from dobbin_like.objects.values.refs import Identity

IMMUTABLE, REFERENCE, LIST, DICT, SET, BYTEARRAY, TUPLE, FROZENSET, OTHER = range(9)
"""Kinds of values. Up to REFERENCE they are shared as they are."""

BASES: Final[dict[int, type]] = {LIST: list, DICT: dict, SET: set, BYTEARRAY: bytearray}
"""The kinds that can be changed, and the built-in type of each."""

# Exact types whose equality is identity of content: 1 == True, but the types differ.
PLAIN_TYPES: Final = frozenset({int, str, bytes, bool, type(None)})

IMMUTABLE_NAMES: Final = frozenset(
    (
        "builtins.complex builtins.ellipsis builtins.float builtins.range builtins.slice "
        "datetime.date datetime.datetime datetime.time datetime.timedelta datetime.timezone "
        "decimal.Decimal fractions.Fraction ipaddress.IPv4Address ipaddress.IPv4Interface "
        "ipaddress.IPv4Network ipaddress.IPv6Address ipaddress.IPv6Interface "
        "ipaddress.IPv6Network pathlib.PosixPath pathlib.PurePath pathlib.PurePosixPath "
        "pathlib.PureWindowsPath pathlib.WindowsPath pathlib._local.PosixPath "
        "pathlib._local.PurePosixPath pathlib._local.PureWindowsPath re.Pattern uuid.UUID "
        "zoneinfo.ZoneInfo"
    ).split()
)


SHAREABLE: Final[set[type]] = set()
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
