"""The base of a stored delta: the tid of the version that it changes.

Only the bytes of the tid are changed; all others stay as they are, whatever classes they need.
"""

from __future__ import annotations

import pickletools

from dobbin_like.ids import Tid
from dobbin_like.objects.codec.stream_keys import NUMBERS, number_bytes


def with_base(data: bytes, base: Tid) -> bytes:
    """Return a delta of another version. ValueError: it is no delta."""
    codes = pickletools.genops(data)
    protocol, _, _ = next(codes)
    code, old, _ = next(each for each in codes if each[0].name != "FRAME")
    _, _, end = next(codes)
    if protocol.name != "PROTO" or code.name not in NUMBERS or end is None:
        text = "a delta that does not begin with the tid of a version"
        raise ValueError(text)
    # A frame has its length, and is optional.
    return data if old == base else data[:2] + number_bytes(base) + data[end:]
