"""A stored stream as an application of ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dobbin_like.persistent import PersistentStream
from dobbin_like.web.ranges import PIECE_BYTES, part_of

__all__ = ["AsgiStream"]


class AsgiStream:
    """Serves a stored stream: ranges, an ETag, conditional requests.

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

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        given = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        part = part_of(
            self._stream,
            scope["method"],
            lambda name: given.get(name.lower().encode("ascii")),
            content_type=self._content_type,
            filename=self._filename,
        )
        headers = [(name.lower().encode(), value.encode()) for name, value in part.headers]
        await send({"type": "http.response.start", "status": part.status, "headers": headers})
        with part.open(self._stream) as file:
            left = part.size
            while left:
                # The disk may be slow.
                piece = await asyncio.to_thread(file.read, PIECE_BYTES)
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        if not part.size:
            await send({"type": "http.response.body", "body": b""})
