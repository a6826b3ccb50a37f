"""Starlette and FastAPI: a lifespan that opens the database, a dependency that gives its root."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection
from starlette.responses import Response

from dobbin_like.database import Database
from dobbin_like.opening import open as open_database
from dobbin_like.persistent import Persistent, PersistentStream
from dobbin_like.web.asgi import MARK, AsgiTransactions, no_database
from dobbin_like.web.asgi_streams import AsgiStream
from dobbin_like.web.root import set_first_root

__all__ = ["AsgiTransactions", "StreamResponse", "lifespan", "root"]


def lifespan(
    where: str | os.PathLike[str] | Database,
    root: Callable[[], Persistent] | None = None,
    **options: Any,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan: it opens a database, ``request.state.db``, and closes it in the end.

    Args:
        where: As for :func:`dobbin_like.open`, with *options*. A database stays open.
        root: Makes the root if there is none.
    """

    @asynccontextmanager
    async def opened(_app: Any) -> AsyncIterator[dict[str, Any]]:
        database = where if isinstance(where, Database) else open_database(where, **options)
        try:
            if root is not None:
                set_first_root(database, root)
            yield {"db": database}
        finally:
            if database is not where:
                database.close()

    return opened


async def root(request: HTTPConnection) -> Any:
    """Return the root of the database of the lifespan: ``Depends(root)``.

    RuntimeError: The lifespan is missing, or the middleware, without which nobody would commit
    what a handler changes.
    """
    database = request.scope.get("state", {}).get("db")
    if database is None:
        raise no_database()
    if MARK not in request.scope:
        text = (
            "this request is no transaction, its changes would be lost: call "
            "app.add_middleware(AsgiTransactions), of dobbin_like.web.starlette; a handler that "
            "has transactions of its own takes request.state.db instead of root"
        )
        raise RuntimeError(text)
    return database.root


class StreamResponse(Response):
    """Serves a stored stream: ranges, an ETag, conditional requests.

    Args:
        filename: Lets browsers save it under this name.
    """

    def __init__(
        self,
        stream: PersistentStream,
        media_type: str = "application/octet-stream",
        filename: str | None = None,
    ) -> None:
        self.background: BackgroundTask | None = None
        self._stream = AsgiStream(stream, content_type=media_type, filename=filename)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._stream(scope, receive, send)
