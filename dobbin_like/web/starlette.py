"""Starlette and FastAPI: a lifespan that opens the database, a dependency that gives its root."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection
from starlette.responses import Response

from dobbin_like.collections import (
    BTreeSet,
    PersistentCounter,
    PersistentList,
    PersistentQueue,
    PersistentSet,
)
from dobbin_like.database import Database
from dobbin_like.indexes import Found
from dobbin_like.persistent import Persistent, PersistentFile, PersistentStream
from dobbin_like.web.asgi import MARK, AsgiTransactions, no_database
from dobbin_like.web.asgi_streams import AsgiStream
from dobbin_like.web.root import open_with_root

__all__ = ["AsgiTransactions", "StreamResponse", "encode_collections", "lifespan", "root"]


def lifespan(
    where: str | os.PathLike[str] | Database,
    root: Callable[[], Persistent] | None = None,
    **options: Any,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan: it opens a database, ``request.state.db``, and closes it in the end.

    It calls :func:`encode_collections`.

    Args:
        where: As for :func:`dobbin_like.open`, with *options*. A database stays open.
        root: Makes the root if there is none.
    """
    encode_collections()

    @asynccontextmanager
    async def opened(_app: Any) -> AsyncIterator[dict[str, Any]]:
        database = open_with_root(where, root, **options)
        try:
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


def encode_collections() -> None:
    """Let FastAPI make JSON of collections and of what ``find()`` returns, if it is imported.

    A handler may return them, alone or in what it returns: lists, queues, sets and results are
    arrays, a counter is its value, dicts and trees are objects anyway. Without, FastAPI takes the
    attributes that a collection has inside. A stream is refused; see :class:`StreamResponse`.
    """
    encoders = sys.modules.get("fastapi.encoders")
    table = getattr(encoders, "encoders_by_class_tuples", None)
    if table is not None:
        table[_array] = (BTreeSet, Found, PersistentList, PersistentQueue, PersistentSet)
        table[_number] = (PersistentCounter,)
        table[_refused] = (PersistentFile, PersistentStream)


def _array(found: Any) -> Any:
    # Made by FastAPI: its way goes no deeper into what an encoder returns.
    return sys.modules["fastapi.encoders"].jsonable_encoder([*found])


def _number(counter: PersistentCounter) -> Any:
    return counter.value


def _refused(stream: Any) -> Any:
    text = f"a {type(stream).__name__} is no JSON; return StreamResponse(stream, media_type)"
    raise TypeError(text)


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
