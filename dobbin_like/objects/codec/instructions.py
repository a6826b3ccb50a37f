"""What the bytes of a state are looked through for before they are decoded.

Decoding runs the instructions of a pickle. Which names they can reach is up to the decoder; here
is what harms before it is asked. The memo of ``pickle`` in C is an array up to Python 3.14: an
instruction of five bytes that puts something into place 4,000,000,000 takes 64 GiB. 3.15 takes a
dict instead (https://github.com/python/cpython/issues/115952).
"""

from __future__ import annotations

import copyreg
import io
import re
import sys
from collections.abc import Callable
from typing import Any, Final

_extensions: Final[dict[int, Any]] = copyreg._extension_cache  # type: ignore[attr-defined]  # noqa: SLF001
_has_extension: Final = re.compile(rb"[\x82-\x84]").search

_MEMO_IS_ARRAY: Final = sys.version_info < (3, 15)

_PUT: Final = ord("p")
_LONG_BINPUT: Final = ord("r")

_SHORT: Final = 64
"""Texts of fewer bytes are matched by the expression, longer ones are skipped by arithmetic."""


def _compile_match(data: bytes, place: int = 0) -> re.Match[bytes] | None:
    """Match instructions that do no harm, up to a long text; from then on, without this function.

    Each process that decodes anything needs the expression, those that only import do not.
    """
    global _match  # noqa: PLW0603
    nothing = rb"[().012N\])}abdelostuQR\x81\x85-\x89\x8f-\x94\x97\x98]"
    texts = b"|".join(re.escape(bytes([n])) + b".{%d}" % n for n in range(_SHORT))
    one = rb"[Kh]." + nothing + rb"*+|\x8c(?:" + texts + rb")|" + nothing + rb"++"
    one += rb"|M..|[Jj]....|[G\x95].{8}|[q\x80]."
    _match = re.compile(rb"(?:\x80\x05\x95.{8})?(?:" + one + rb")*+", re.DOTALL).match
    return _match(data, place)


_match: Callable[..., re.Match[bytes] | None] = _compile_match

_LENGTHS: Final = {0x8A: 1, 0x8B: 4, 0x8C: 1, 0x8D: 8, 0x8E: 8, 0x96: 8} | {
    ord(letter): size for letter, size in zip("CUXBT", (1, 1, 4, 4, 4), strict=True)
}
"""How many bytes the length of an argument has, by the instruction."""


class StateError(Exception):
    """The bytes of a state hold something else."""

    def __init__(self, found: str, expected: str) -> None:
        super().__init__(found, expected)
        self.found = found
        self.expected = expected

    def __str__(self) -> str:
        return f"a {self.found}, expected {self.expected}"


def as_file(data: bytes) -> io.BytesIO:
    """Return the bytes of a state as what is to be decoded, or raise StateError.

    Cost: 0.4 of what ``pickle`` takes for them, up to Python 3.14; next to nothing since.
    """
    # What programs have registered by copyreg.add_extension(), and decoded elsewhere, is not
    # looked up by find_class() any more.
    if _extensions and _has_extension(data):
        _refuse(data)
    # Most states have no long text: one call is all, if they have one of the letters.
    if (
        _MEMO_IS_ARRAY
        and (_LONG_BINPUT in data or _PUT in data)
        and _match(data).end() != len(data)  # type: ignore[union-attr]
        and may_put(data)
    ):
        _refuse(data)
    return io.BytesIO(data)


def may_put(data: bytes) -> bool:
    """Return whether an instruction may put something at a place of its own in the memo."""
    place = 0
    while True:
        place = _match(data, place).end()  # type: ignore[union-attr]
        if place >= len(data):
            return False
        size = _LENGTHS.get(data[place])
        if size is None:
            return True
        start = place + 1 + size
        place = start + int.from_bytes(data[place + 1 : start], "little")


def _refuse(data: bytes) -> None:
    """Raise StateError if there is an instruction that is refused. Slow: it looks at each."""
    refused = _refused(data)
    if refused is not None:
        raise refused


def _refused(data: bytes) -> StateError | None:
    import pickletools

    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name.startswith("EXT"):
                return StateError("state with an extension code", "none")
            if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) >= len(data):
                found = f"state with place {argument} of the memo"
                return StateError(found, f"places below {len(data)}, the number of its bytes")
    except Exception as error:  # noqa: BLE001  the bytes may be anything
        return StateError(f"state that is no pickle ({error})", "one")
    return None
