"""Loading one version of one object from its position.

Any thread, without a lock: what is cached between two loads is in tuples that are replaced whole,
and committed bytes never change (I3, I5), so that any tuple that a thread sees is right.
Everything it returns is covered by the checksum of the entry.
"""

from __future__ import annotations

import os
from typing import Final
from zlib import crc32

from dobbin_like.exc import IntegrityError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file.disk import read_ahead, read_exactly
from dobbin_like.log.format import record
from dobbin_like.log.format.header import PAGE_SIZE
from dobbin_like.log.reading.reader import LoggedVersion

_FAR: Final = 1 << 12
"""Bytes read for an entry that is nowhere near the last one."""

_NEAR: Final = 1 << 16
"""Bytes read where the last buffer ends: neighbouring oids were written together."""

_BACK: Final = 56
"""Bytes read before an entry: the frame of a small transaction is right there."""

_UNPACK: Final = record.unpack_entry
_SIZE: Final = record.ENTRY_SIZE
_START: Final = record.TRANSACTION_SIZE
_HEAD: Final = record.ENTRY_HEAD_SIZE
_NUMBER: Final = record.NUMBER_LIMIT - 1
_new: Final = tuple.__new__


class Loader:
    """Reads versions of objects of one log file.

    ``_entries`` and ``_states`` are buffers (offset, bytes) for tables and for states,
    ``_frame`` is (offset, tid, seed of the checksum) of the last frame. All are replaced
    whole.
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._entries = (0, b"")
        self._states = (0, b"")
        self._frame = (0, Tid(0), 0)

    def load(self, oid: Oid, position: int, limit: int) -> LoggedVersion:
        """Return the version of *oid* whose entry is at *position*; read nothing behind *limit*.

        IntegrityError: It is damaged, or there is another object.
        """
        start, data = self._entries
        at = position - start
        if at < 0 or at + _SIZE > len(data):
            start, data = self._fill(start + len(data), position, limit)
            at = position - start
        found, previous, index, distance, length, class_number, checksum = _UNPACK(data, at)
        offset = position - index * _SIZE - _START
        frame = self._frame
        if frame[0] != offset:
            frame = self._read_frame(position, offset, start, data)
        state_at = at + distance
        if state_at + length <= len(data):
            state = data[state_at : state_at + length]
        else:
            begin, states = self._states
            state_at = position + distance - begin
            if 0 <= state_at <= len(states) - length:
                state = states[state_at : state_at + length]
            else:
                state = self._state(position, position + distance, length, limit)
        if (
            # As entry_checksum() computes it, without a call: objects are loaded one by one.
            crc32(state, crc32(data[at : at + _HEAD], frame[2])) != checksum
            or found != oid
            or previous >= position
        ):
            text = f"an entry of oid {found} that fails its checksum"
            raise IntegrityError(self._path, position, text, f"a whole entry of oid {oid}")
        return _new(LoggedVersion, (frame[1], class_number & _NUMBER, state, position, previous))

    def load_until(
        self, at: Tid, oid: Oid, stored: LoggedVersion, limit: int
    ) -> LoggedVersion | None:
        """Return the newest version up to *at*, that is *stored* or one before it."""
        while stored.tid > at:
            if not stored.previous:
                return None
            stored = self.load(oid, stored.previous, limit)
        return stored

    def _fill(self, near: int, position: int, limit: int) -> tuple[int, bytes]:
        """Read a buffer that begins before *position*; keep it."""
        size = _NEAR if 0 <= position - near < _NEAR else _FAR
        start = max(PAGE_SIZE, position - _BACK)
        try:
            data = os.pread(self._fd, min(size, limit - start) if start < limit else 0, start)
        except OSError as error:
            if error.errno is None:
                raise
            # It may be the bytes around it that the disk can't read.
            start, data = position, read_exactly(self._fd, self._path, position, _SIZE)
        if len(data) < position + _SIZE - start:
            text = "the end of the file"
            raise IntegrityError(self._path, start + len(data), text, f"an entry at {position}")
        self._entries = start, data
        return start, data

    def _read_frame(
        self, position: int, offset: int, start: int, data: bytes
    ) -> tuple[int, Tid, int]:
        if offset < PAGE_SIZE:
            text = f"an entry of a transaction at {offset}"
            raise IntegrityError(self._path, position, text, f"one at {PAGE_SIZE} or after")
        if offset < start:
            start, data = offset, read_exactly(self._fd, self._path, offset, _START)
        tid = record.tid_of(data, offset - start)
        frame = offset, tid, record.tid_seed(tid)
        self._frame = frame
        return frame

    def _state(self, position: int, start: int, length: int, limit: int) -> bytes:
        """Read a state that is in no buffer."""
        if start + length > limit:
            text = f"a state from {start} to {start + length}"
            raise IntegrityError(self._path, position, text, f"a state before {limit}")
        if length > _FAR:
            return read_exactly(self._fd, self._path, start, length)
        begin, data = self._states
        near = 0 <= start - begin - len(data) < _NEAR
        ahead = min(_NEAR if near else _FAR, limit - start)
        data = read_ahead(self._fd, self._path, start, length, ahead)
        self._states = start, data
        return data[:length]
