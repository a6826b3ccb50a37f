"""States to be looked at: of texts and bytes that are large, only the beginning is built.

Pickle writes such values outside its frames. So they are found by a step for each frame, and
what is decoded are the bytes without them. A :class:`Cut` stands in the place of each.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final

from dobbin_like.ids import Oid
from dobbin_like.objects.codec.classes import ClassTable
from dobbin_like.objects.codec.serialize import Decoder

LARGE: Final = 1 << 20
"""Bytes from which on a value is cut."""

_HEAD: Final = 20_000
"""Characters, or bytes, that are built of it."""

_PIECE: Final = 1 << 20
"""Bytes of a text that are decoded at once."""

_FRAME: Final = 0x95
_STOP: Final = ord(".")
_FRAME_HEAD: Final = 9

_LARGE_KINDS: Final = {
    ord("X"): ("str", 4),
    0x8D: ("str", 8),
    ord("B"): ("bytes", 4),
    0x8E: ("bytes", 8),
    0x96: ("bytearray", 8),
}
"""By opcode: the type of the value, and the size of its length, which stands before it."""

_ARGUMENTS: Final = {
    **dict.fromkeys(b"Khq\x80\x82", 1),
    **dict.fromkeys(b"M\x83", 2),
    **dict.fromkeys(b"Jjr\x84", 4),
    ord("G"): 8,
}
"""By opcode: the bytes that follow it. Of those that are in no table, none."""

_COUNTED: Final = frozenset(b"CU\x8a\x8c")
"""Opcodes that a byte follows which is the number of further bytes."""

_OTHER: Final = frozenset(b"FILPSTVcgip\x8b")
"""Opcodes that pickle does not write into states, or only large ones."""


class Cut:
    """A value of which the beginning is known. Two are equal if their whole contents are.

    ``kind`` is the name of its type, ``head`` its beginning, ``size`` its characters or bytes.
    """

    __slots__ = ("_content", "_digest", "head", "kind", "size")

    def __init__(self, kind: str, content: memoryview) -> None:
        self.kind: str = kind
        self.head: str | bytes = bytes(content[:_HEAD])
        self.size: int = len(content)
        self._content = content
        self._digest = b""
        if kind == "str":
            text, _ = codecs.utf_8_decode(content[: 4 * _HEAD], "surrogatepass", False)
            self.head = text[:_HEAD]
            self.size = sum(map(_characters, _pieces(content)))

    def _p_parts(self) -> tuple[str, int, bytes]:
        """Let states be compared by what was cut; see StateComparison."""
        if not self._digest:
            self._digest = blake2b(self._content).digest()
        return self.kind, self.size, self._digest

    def __eq__(self, other: object) -> bool:
        return type(other) is Cut and self._p_parts() == other._p_parts()

    def __hash__(self) -> int:
        return hash(self._p_parts())

    def has(self, folded: str) -> bool:
        """Return whether *folded*, a text after casefold(), is in the text, in any case."""
        end = ""
        for text in self._texts():
            beginning = end + text.casefold()
            if folded in beginning:
                return True
            end = beginning[-len(folded) :]
        return False

    def _texts(self) -> Iterator[str]:
        at = 0
        while self.kind == "str" and at < len(self._content):
            piece = self._content[at : at + _PIECE]
            text, size = codecs.utf_8_decode(piece, "surrogatepass", len(piece) < _PIECE)
            yield text
            at += size


_CONTINUED: Final = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that no character begins with."""


def _pieces(content: memoryview) -> Iterator[bytes]:
    return (bytes(content[at : at + _PIECE]) for at in range(0, len(content), _PIECE))


def _characters(piece: bytes) -> int:
    return len(piece.translate(None, _CONTINUED))


def without_large(data: bytes) -> tuple[bytes, list[Cut]]:
    """Return the bytes of a state without its large values, and these.

    Where one was is a persistent id of :class:`PreviewDecoder`. What is no state stays as it is.
    Cost: next to nothing for a small state, else a step for each 64 KB and a look at the texts.
    """
    kept: list[bytes | memoryview] = []
    cuts: list[Cut] = []
    whole, begin = memoryview(data), 0
    for at, kind, size in _large_values(data):
        content_at = at + 1 + size
        end = content_at + int.from_bytes(data[at + 1 : content_at], "little")
        name = f"cut {len(cuts)}".encode()
        kept += [whole[begin:at], b"\x8c" + bytes([len(name)]) + name + b"Q"]
        cuts.append(Cut(kind, whole[content_at:end]))
        begin = end
    if not cuts:
        return data, cuts
    return b"".join([*kept, whole[begin:]]), cuts


def _large_values(data: bytes) -> Iterator[tuple[int, str, int]]:
    """Yield of each large value where its opcode is, its kind, and the size of its length."""
    at, end = 0, len(data) if len(data) > LARGE else 0
    while at < end and data[at] != _STOP:
        code = data[at]
        if code == _FRAME:
            at += _FRAME_HEAD + int.from_bytes(data[at + 1 : at + _FRAME_HEAD], "little")
            continue
        kind, size = _LARGE_KINDS.get(code, ("", 0))
        if kind:
            length = int.from_bytes(data[at + 1 : at + 1 + size], "little")
            if LARGE <= length <= end - at - 1 - size:
                yield at, kind, size
            at += 1 + size + length
            continue
        if code in _OTHER:
            return
        # Outside of a frame there is not much else: what is shorter than the head of one.
        counted = sum(data[at + 1 : at + 2], 1) if code in _COUNTED else _ARGUMENTS.get(code, 0)
        at += 1 + counted


class PreviewDecoder(Decoder):
    """Decodes the bytes of a state from which *cuts* were taken."""

    def __init__(
        self,
        data: bytes,
        ghost: Callable[[Oid, int], Any],
        classes: ClassTable,
        cuts: Sequence[Cut],
    ) -> None:
        super().__init__(data, ghost, classes)
        self._cuts = cuts

    def persistent_load(self, pid: Any) -> Any:
        if type(pid) is str:
            return self._cuts[int(pid.removeprefix("cut "))]
        return super().persistent_load(pid)
