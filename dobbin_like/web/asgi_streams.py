"""A stored stream as an application of ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from dobbin_like.web.ranges import PIECE_BYTES, ServedStream

__all__ = ["AsgiStream"]


class AsgiStream(ServedStream):
    """Serves a stored stream by ASGI; takes what :class:`.ServedStream` takes."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        given = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        part = self.part_of(
            scope["method"],
            lambda name: given.get(name.lower().encode("ascii")),
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
