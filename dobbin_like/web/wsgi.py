"""Middleware for WSGI: a request is a transaction.

The answer begins when the transaction has been committed; until then it is in memory. That of a
request that only reads goes out as it is made, in its snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dobbin_like.blocks.block import Block
from dobbin_like.database import Database, store_of
from dobbin_like.web.body import Body, IncompleteBodyError
from dobbin_like.web.request import Answer, Rules, answered

__all__ = ["WsgiTransactions", "note_error"]

App = Callable[..., Iterable[bytes]]

_ERROR = "dobbin_like.error"


def note_error(environ: dict[str, Any], error: BaseException) -> None:
    """Tell the middleware of an error that the application makes an answer of."""
    environ[_ERROR] = error


class WsgiTransactions:
    """An application of WSGI whose requests are transactions of *database*.

    Args:
        rules: See :class:`~dobbin_like.web.request.Rules`.
    """

    def __init__(self, app: App, database: Database, **rules: Any) -> None:
        self._app = app
        self._store = store_of(database)
        self._rules = Rules(**rules)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if self._rules.skip(method, path):
            return self._app(environ, start_response)
        if method in self._rules.read_methods:
            return self._read(environ, start_response)
        return self._write(environ, start_response, f"{method} {path}")

    def _read(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        with InBlock(Block(self._store, only_reads=True)) as body:
            body.take(self._app(environ, start_response))
            return body.body if _is_ready(body.body, environ) else body.kept()

    def _write(
        self, environ: dict[str, Any], start_response: Callable[..., Any], note: str
    ) -> Iterable[bytes]:
        try:
            body = Body(environ, self._rules.replay_bytes)
        except IncompleteBodyError:
            start_response("400 Bad Request", [("Content-Length", "0")])
            return []

        first = dict(environ)

        def attempt() -> Answer:
            environ.clear()  # Those outside look into it afterwards, so it stays the same one.
            environ.update(first, **{"wsgi.input": body.open()})
            return _answer(self._app, environ)

        answer = answered(
            self._store,
            self._rules,
            attempt,
            retry=self._rules.retry if body.replayable else 0,
            note=note,
            user=environ.get("REMOTE_USER") or "",
        )
        status, headers, content = answer.response
        start_response(status, headers)
        result: Iterable[bytes] = content
        return result


class InBlock:
    """A block that reads, and the body that is made in it: ``kept()``, it ends with the body."""

    def __init__(self, block: Block[Any]) -> None:
        self._block: Block[Any] | None = block
        self._is_kept = False
        self.body: Iterable[bytes] = ()

    def take(self, body: Iterable[bytes]) -> None:
        self.body = body

    def kept(self) -> InBlock:
        self._is_kept = True
        return self

    def __enter__(self) -> InBlock:
        if self._block is not None:
            self._block.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        block = self._block
        if block is not None and not self._is_kept:
            self._block = None
            block.__exit__(*error)

    def __iter__(self) -> Iterator[bytes]:
        yield from self.body
        # The client of a test may keep an answer that it has read, and not close it.
        self._end()

    def close(self) -> None:
        """As a server calls it, also if the client has gone."""
        try:
            _close(self.body)
        finally:
            self._end()

    def _end(self) -> None:
        self._is_kept = False
        self.__exit__(None, None, None)


def _answer(app: App, environ: dict[str, Any]) -> Answer:
    started: list[Any] = []
    content: list[bytes] = []

    def start(status: str, headers: Any, _exc_info: object = None) -> Callable[[bytes], object]:
        started[:] = status, headers
        return content.append

    body = app(environ, start)
    if content or not _is_ready(body, environ):
        try:
            content.extend(body)
        finally:
            _close(body)
        body = content
    status, headers = started
    return Answer(
        status=int(status[:3]),
        response=(status, headers, body),
        error=environ.get(_ERROR),
        discard=lambda: _close(body),
    )


def _is_ready(body: Iterable[bytes], environ: dict[str, Any]) -> bool:
    """Tell whether reading *body* runs no code of the application: a list, or a file."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, (list, tuple)) or (
        isinstance(wrapper, type) and isinstance(body, wrapper)
    )


def _close(body: Any) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()
