"""The body of a request of WSGI: read before the transaction, and again in each attempt."""

from __future__ import annotations

import io
from typing import Any

__all__ = ["Body", "IncompleteBodyError"]


class IncompleteBodyError(Exception):
    """The client has gone before it has sent the whole body."""


class Body:
    """``replayable``: whether :meth:`open` may be called again."""

    def __init__(self, environ: dict[str, Any], limit: int) -> None:
        self.replayable: bool = True
        self._source = environ.get("wsgi.input", io.BytesIO())
        length = environ.get("CONTENT_LENGTH") or "0"
        ends_itself = bool(
            environ.get("wsgi.input_terminated") or environ.get("HTTP_TRANSFER_ENCODING")
        )
        if length.isdecimal() and int(length):
            self._take(int(length), limit)
        elif ends_itself:
            self._data = self._read(limit + 1)
            self.replayable = len(self._data) <= limit
        else:  # None, or one that is for the application to refuse.
            self._data = b""
            self.replayable = length == "0"

    def _take(self, length: int, limit: int) -> None:
        self.replayable = length <= limit
        self._data = self._read(length) if self.replayable else b""
        if self.replayable and len(self._data) < length:
            raise IncompleteBodyError

    def _read(self, size: int) -> bytes:
        chunks = []
        while size and (chunk := self._source.read(size)):
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)

    def open(self) -> Any:
        """Return what an attempt reads."""
        if self.replayable:
            return io.BytesIO(self._data)
        return io.BufferedReader(_Rest(self._data, self._source)) if self._data else self._source


class _Rest(io.RawIOBase):
    """What was read already, and what has not been."""

    def __init__(self, data: bytes, source: Any) -> None:
        self._data, self._source = data, source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data[: len(buffer)] or self._source.read(len(buffer))
        self._data = self._data[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
