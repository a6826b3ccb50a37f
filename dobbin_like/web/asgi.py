"""Middleware for ASGI: a request is a transaction.

It belongs to the request: its task, and the tasks and threads that this one asks (a handler
without ``async``, middleware that runs the rest in another task). The last part of the answer
ends it; until then, the answer of a request that may write is in memory. So what the application
does afterwards, its background tasks, is outside of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from transaction.interfaces import TransientError

from dobbin_like.blocks.again import pause_seconds
from dobbin_like.blocks.block import Block
from dobbin_like.blocks.tasks import leave_request
from dobbin_like.database import Database, store_of
from dobbin_like.objects.values.here import Here
from dobbin_like.web.request import Refused, Rules

__all__ = ["AsgiTransactions"]

MARK: Final = "dobbin_like.transactions"
"""The key of a scope that has come through the middleware."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class AsgiTransactions:
    """An application of ASGI whose HTTP requests are transactions. WebSockets are left alone.

    Args:
        database: By default the one that the lifespan has opened, ``db`` of the state.
        rules: See :class:`~dobbin_like.web.request.Rules`.
    """

    def __init__(self, app: App, database: Database | None = None, **rules: Any) -> None:
        self._app = app
        self._database = database
        self._rules = Rules(**rules)
        Here.everywhere = True

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        scope[MARK] = True  # Also where it leaves a request alone: somebody has decided that.
        if scope["type"] != "http" or self._rules.skip(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            await self._answer(scope, receive, send)
        finally:
            leave_request()

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        only_reads = scope["method"] in self._rules.read_methods
        body = _Body(receive)
        if not only_reads and not await body.take(self._rules.replay_bytes):
            return  # The client has gone, and there is nobody to answer.
        retry = self._rules.retry if body.is_whole and not only_reads else 0
        first = dict(scope)
        holds_lock = False
        for failures in range(1, retry + 2):
            block = self._block(scope, only_reads=only_reads, holds_lock=holds_lock)
            answer = _Answer(
                block,
                send,
                holds_back=not only_reads,
                abort_from=self._rules.abort_from,
            )
            if await answer.of(self._app, scope, body.again(), is_last=failures > retry):
                return
            scope.clear()  # Those outside look into it afterwards, so it stays the same one.
            scope.update(first)
            holds_lock = block.participants == 1
            if not holds_lock:
                await asyncio.sleep(pause_seconds(failures))

    def _block(
        self, scope: MutableMapping[str, Any], *, only_reads: bool, holds_lock: bool
    ) -> Block[Any]:
        database = self._database or scope.get("state", {}).get("db")
        if database is None:
            raise no_database()
        note = "" if only_reads else f"{scope['method']} {scope['path']}"
        return Block(
            store_of(database),
            note=note,
            only_reads=only_reads,
            is_shared=True,
            holds_lock=holds_lock,
        )


def no_database() -> RuntimeError:
    """Return the error that tells of a database which nobody has opened."""
    text = (
        "no database: give one to AsgiTransactions, or let the server run the lifespan of "
        "dobbin_like.web.starlette (a test client does in a with block)"
    )
    return RuntimeError(text)


class _Body:
    """The messages with the body of a request, for each attempt."""

    def __init__(self, receive: Receive) -> None:
        self.is_whole = False
        self._receive = receive
        self._messages: list[Message] = []

    async def take(self, limit: int) -> bool:
        """Receive up to *limit* bytes; return False if the client has gone meanwhile."""
        size = 0
        while not self.is_whole and size <= limit:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return False
            self._messages.append(message)
            size += len(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)
        return True

    def again(self) -> Receive:
        messages = iter(self._messages)

        async def receive() -> Message:
            for message in messages:
                return dict(message)
            return await self._receive()

        return receive


class _Answer:
    """What one attempt answers. *holds_back*: until its transaction has been committed."""

    def __init__(
        self, block: Block[Any], send: Send, *, holds_back: bool, abort_from: int
    ) -> None:
        self._block = block
        self._send = send
        self._holds_back = holds_back
        self._abort_from = abort_from
        self._held: list[Message] = []
        self._status = 0
        self._is_ended = False
        self._failure: BaseException | None = None  # Of the commit.

    async def of(
        self, app: App, scope: MutableMapping[str, Any], receive: Receive, *, is_last: bool
    ) -> bool:
        """Run the application; return False if that is to be done again."""
        await self._block.__aenter__()
        try:
            await app(scope, receive, self._take)
            await self._end()
            self._check()
        except BaseException as error:
            await self._end(error)
            if not is_last and self._may_be_run_again(error):
                return False
            if self._failure is not None:
                raise self._failure from None
            if self._is_refused():
                await self._let_go()  # The application tells of its error, and then raises it.
            raise
        await self._let_go()
        return True

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure  # The application has suppressed it.

    def _may_be_run_again(self, error: BaseException) -> bool:
        if not (isinstance(error, Exception) and isinstance(self._failure or error, Exception)):
            return False
        return self._block.transient or (self._is_refused() and isinstance(error, TransientError))

    async def _take(self, message: Message) -> None:
        """Be the ``send()`` of the application."""
        if self._failure is not None:
            return  # An error page for what will be done again, or is raised.
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
        is_last = kind == "http.response.pathsend" or (
            kind == "http.response.body" and not message.get("more_body", False)
        )
        self._held.append(message)
        if is_last:
            await self._end()
        # The application may yet raise what has made it refuse the request.
        if not self._holds_back or (self._is_ended and not self._is_refused()):
            await self._let_go()

    def _is_refused(self) -> bool:
        return self._status >= self._abort_from

    async def _end(self, error: BaseException | None = None) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        if error is None and self._holds_back and self._is_refused():
            error = Refused()
        try:
            await self._block.__aexit__(type(error) if error else None, error, None)
        except BaseException as failure:
            self._failure = failure
            raise

    async def _let_go(self) -> None:
        held, self._held = self._held, []
        for message in held:
            await self._send(message)
