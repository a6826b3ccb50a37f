"""The key in the state of a stored stream: the place of its bytes, which packing moves.

Only the bytes of the key are changed; all others stay as they are, whatever classes they need.
"""

from __future__ import annotations

import pickletools
from collections.abc import Sequence
from typing import Any, Final

from dobbin_like.contract import Names
from dobbin_like.name_tables import class_and_names
from dobbin_like.objects.codec.references import decode_loosely
from dobbin_like.objects.codec.state_reader import STREAM_CLASS

_KEY: Final = "_offset"
"""The attribute of a stream that has its key."""

NUMBERS: Final = frozenset({"BININT1", "BININT2", "BININT", "LONG1", "LONG4"})
"""The instructions for whole numbers."""


def stored_stream(
    names: Names, number: int, data: bytes
) -> tuple[int | None, tuple[str, ...] | None]:
    """Return the key of the stream of a state, if it is of one, and what is needed to change it.

    *number* is that of the state; for the rest, see :func:`stream_key_of`.
    """
    class_number, attributes = class_and_names(names, number)
    if names.class_name(class_number) != STREAM_CLASS:
        return None, None
    return stream_key_of(data, attributes), attributes


def stream_key_of(data: bytes, names: Sequence[str] | None) -> int | None:
    """Return the key of the stream of a state; None if it has none. Raises as decoding.

    *names* are those of the attributes if the state is a tuple of their values.
    """
    state: Any = decode_loosely(data)
    if names is not None:
        state = dict(zip(names, state, strict=True))
    key = state.get(_KEY)
    return key if type(key) is int else None


def with_stream_key(data: bytes, names: Sequence[str] | None, key: int) -> bytes:
    """Return a state with another key of its stream. ValueError: it has none."""
    old = stream_key_of(data, names)
    if old == key:
        return data
    # The same number may be elsewhere in the state, and so may an attribute of that name:
    # decoding the changed state shows whether it was the right one.
    codes = list(pickletools.genops(data))
    places = [int(at or 0) for code, _, at in codes] + [len(data)]
    for index, (code, argument, _) in enumerate(codes):
        if code.name in NUMBERS and argument == old:
            parts = [
                number_bytes(key) if number == index else data[places[number] : places[number + 1]]
                for number, (other, _, _) in enumerate(codes)
                # A frame has its length, and is optional.
                if other.name != "FRAME"
            ]
            changed = b"".join(parts)
            if stream_key_of(changed, names) == key:
                return changed
    text = "a state of a stream that names none"
    raise ValueError(text)


def number_bytes(value: int) -> bytes:
    """Return the instruction for a whole number."""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data
