"""The references of a long list one by one, without the list: a page shows some of a million.

A list of references is written by few opcodes of pickle, always in the same order. So bytes that
one expression matches from their beginning to their end are such a list, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_FRAME: Final = rb"(?:\x95.{8})?"  # It may begin before any opcode.
_NUMBER: Final = _FRAME + rb"(?:K(.)|M(..)|J(.{4}))"
_REFERS: Final = _FRAME + rb"\x86\x94" + _FRAME + rb"Q"
_ITEM: Final = _NUMBER + _NUMBER + _REFERS
_NO_ITEM: Final = _FRAME + rb"[(ea]"  # A batch begins or ends, or was of one item.
_BEGIN: Final = rb"\x80." + _FRAME
_END: Final = _FRAME + rb"\x85\x94" + _FRAME + rb"\."


def _plain(pattern: bytes) -> bytes:
    """Return a pattern without its groups, which take time."""
    return pattern.replace(rb"(.", rb"(?:.")


# What was matched is never tried in another way: to be able to would take memory.
_each_by_itself: Final = re.compile(
    _BEGIN
    + rb"\]\x94((?:"
    + rb"%b\((?:%b)++%be" % (_FRAME, _plain(_ITEM), _FRAME)
    + rb"|%b%ba" % (_plain(_ITEM), _FRAME)
    + rb")*+)"
    + _END,
    re.DOTALL,
)
_of_one_class: Final = re.compile(
    _BEGIN + rb"\(((?:%b)++)" % _plain(_NUMBER) + _FRAME + rb"t\x94" + _NUMBER + _REFERS + _END,
    re.DOTALL,
)
_item: Final = re.compile(_ITEM + rb"|" + _NO_ITEM, re.DOTALL)
_number: Final = re.compile(_NUMBER, re.DOTALL)


def long_list(data: bytes) -> Iterator[tuple[int, int]] | None:
    """Return oid and class number of each reference, if a state is nothing but a list of them.

    None for one with an oid of more than 31 bits, and for one that has an object twice and is not
    of one class. Cost: a look at the bytes; no memory.
    """
    found = _of_one_class.fullmatch(data)
    if found is not None:
        number = _read(found.groups()[1:])[0]
        oids = _number.finditer(data, *found.span(1))
        return ((_read(oid.groups())[0], number) for oid in oids)
    found = _each_by_itself.fullmatch(data)
    if found is not None:
        items = (item for item in _item.finditer(data, *found.span(1)) if item.lastindex)
        return ((oid, number) for oid, number in map(_read, (item.groups() for item in items)))
    return None


def _read(groups: tuple[bytes | None, ...]) -> list[int]:
    return [int.from_bytes(group, "little") for group in groups if group is not None]
