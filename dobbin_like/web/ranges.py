"""What a request is to get of a stored stream: all of it, a range, or that it has it already."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import quote

from dobbin_like.objects.faces.stream import StreamReader
from dobbin_like.persistent import PersistentStream

__all__ = ["PIECE_BYTES", "ServedStream", "StreamAnswer", "part_of"]

PIECE_BYTES: Final = 64 * 1024

_RANGE: Final = re.compile(r"bytes=\s*(\d*)-(\d*)\s*", re.ASCII)

Headers = list[tuple[str, str]]


class StreamAnswer(NamedTuple):
    """An answer: a status, headers, and *size* bytes of the stream from *start* on."""

    status: int
    headers: Headers
    start: int = 0
    size: int = 0

    def open(self, stream: PersistentStream) -> StreamReader:
        """Return a file with what is to be sent."""
        return StreamReader(lambda at, size: stream._p_read(self.start + at, size), self.size)


def part_of(
    stream: PersistentStream,
    method: str,
    header: Callable[[str], str | None],
    *,
    content_type: str,
    filename: str | None = None,
) -> StreamAnswer:
    """Return the answer to a request. A list of several ranges is answered by all of it.

    Args:
        header: Returns a header of the request, or None.
        filename: Lets browsers save it under this name.
    """
    # The bytes of a stream never change, but undo may give its place to another one.
    etag = f'"{stream._p_oid:x}-{stream._p_serial:x}"'
    size = stream.open().size
    known: Headers = [("ETag", etag), ("Accept-Ranges", "bytes")]
    if (given := header("If-Match")) is not None and not _names(given, etag):
        return StreamAnswer(412, [("Content-Length", "0")])
    given = header("If-None-Match")
    if method in ("GET", "HEAD") and given is not None and _names(given.replace("W/", ""), etag):
        return StreamAnswer(304, known)
    known.append(("Content-Type", content_type))
    if filename is not None:
        known.append(("Content-Disposition", f"attachment; filename*=UTF-8''{quote(filename)}"))
    asked = header("Range") if method == "GET" else None
    if asked is not None and header("If-Range") in (None, etag):
        found = _range(asked, size)
        if found is None:
            return StreamAnswer(
                416, [("Content-Range", f"bytes */{size}"), ("Content-Length", "0")]
            )
        start, end = found
        if (start, end) != (0, size):
            known.append(("Content-Range", f"bytes {start}-{end - 1}/{size}"))
            return _sent(206, known, start, end - start)
    return _sent(200, known, 0, size, has_body=method != "HEAD")


def _sent(
    status: int, headers: Headers, start: int, size: int, *, has_body: bool = True
) -> StreamAnswer:
    return StreamAnswer(
        status, [*headers, ("Content-Length", str(size))], start, size if has_body else 0
    )


class ServedStream:
    """A stored stream that is served: ranges, an ETag, conditional requests.

    Args:
        filename: Lets browsers save it under this name.
    """

    def __init__(
        self,
        stream: PersistentStream,
        content_type: str = "application/octet-stream",
        filename: str | None = None,
    ) -> None:
        self._stream = stream
        self._content_type = content_type
        self._filename = filename

    def part_of(self, method: str, header: Callable[[str], str | None]) -> StreamAnswer:
        """Return the answer to a request, see :func:`part_of`."""
        return part_of(
            self._stream,
            method,
            header,
            content_type=self._content_type,
            filename=self._filename,
        )


def _names(given: str, etag: str) -> bool:
    return given.strip() == "*" or etag in (one.strip() for one in given.split(","))


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """Return the start and the end of a range; all of it if it is none. None: there is none."""
    match = _RANGE.fullmatch(asked)
    first, last = match.groups() if match else ("", "")
    if not (first or last) or (first and last and int(last) < int(first)):
        return 0, size
    if not first:
        wanted = int(last)
        return (max(size - wanted, 0), size) if wanted else None
    start = int(first)
    return (start, min(int(last) + 1, size) if last else size) if start < size else None
