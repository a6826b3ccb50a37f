"""A stored stream as an application of WSGI."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, BinaryIO

from dobbin_like.web.ranges import PIECE_BYTES, ServedStream

__all__ = ["WsgiStream", "body_of_file"]


class WsgiStream(ServedStream):
    """Serves a stored stream by WSGI; takes what :class:`.ServedStream` takes."""

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        part = self.part_of(
            environ["REQUEST_METHOD"],
            lambda name: environ.get("HTTP_" + name.upper().replace("-", "_")),
        )
        start_response(f"{part.status} {HTTPStatus(part.status).phrase}", part.headers)
        return body_of_file(environ, part.open(self._stream)) if part.size else []


def body_of_file(environ: dict[str, Any], file: BinaryIO) -> Iterable[bytes]:
    """Return a body with the bytes of *file*: that of the server, if it has one for files."""
    wrapper: Callable[[BinaryIO, int], Iterable[bytes]]
    wrapper = environ.get("wsgi.file_wrapper", _pieces)
    return wrapper(file, PIECE_BYTES)


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    with file:
        while piece := file.read(size):
            yield piece
