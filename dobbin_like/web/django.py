"""Django: middleware under which a request is a transaction.

Put ``dobbin_like.web.django.TransactionMiddleware`` first in ``MIDDLEWARE``. The settings are
``DOBBIN_DATABASE``, a path, a URI as for :func:`dobbin_like.open`, or a database;
``DOBBIN_ROOT``, the dotted name of what makes the root if there is none; and ``DOBBIN_RULES``,
see :class:`~dobbin_like.web.request.Rules`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIRequest
from django.http import FileResponse, HttpResponse, HttpResponseBadRequest
from django.urls import get_urlconf
from django.utils.module_loading import import_string

from dobbin_like.blocks.block import Block
from dobbin_like.database import Database, store_of
from dobbin_like.persistent import PersistentStream
from dobbin_like.web.body import Body, IncompleteBodyError
from dobbin_like.web.ranges import PIECE_BYTES, part_of
from dobbin_like.web.request import Answer, Rules, answered
from dobbin_like.web.root import open_with_root
from dobbin_like.web.wsgi import InBlock

__all__ = ["TransactionMiddleware", "database", "stream_response"]


def database() -> Database:
    """Return the database of the settings; it is opened once.

    ImproperlyConfigured: It is asked for in a request, and there is no middleware: nobody would
    commit what a view changes.
    """
    if not Rules.in_use and get_urlconf() is not None:  # Django has one while it answers.
        text = (
            "this request is no transaction, its changes would be lost: put "
            "dobbin_like.web.django.TransactionMiddleware first in MIDDLEWARE (under ASGI, wrap "
            "get_asgi_application() in dobbin_like.web.asgi.AsgiTransactions); to do without, let "
            "the rule skip say so"
        )
        raise ImproperlyConfigured(text)
    return _opened(settings.DOBBIN_DATABASE, getattr(settings, "DOBBIN_ROOT", None))


@functools.cache
def _opened(where: Any, root: str | None) -> Database:
    return open_with_root(where, None if root is None else import_string(root))


class TransactionMiddleware:
    """Each request is a transaction. Under ASGI, wrap the application in ``AsgiTransactions``."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._store = store_of(database())
        self._rules = Rules(**getattr(settings, "DOBBIN_RULES", {}))

    def __call__(self, request: Any) -> Any:
        if not isinstance(request, WSGIRequest):
            text = (
                "under ASGI, wrap get_asgi_application() in dobbin_like.web.asgi.AsgiTransactions"
            )
            raise ImproperlyConfigured(text)
        if self._rules.skip(request.method, request.path):
            return self._get_response(request)
        if request.method in self._rules.read_methods:
            return self._read(request)
        return self._write(request)

    def process_exception(self, request: Any, exception: Exception) -> None:
        """Note what a view raises: Django makes an answer of it."""
        request.dobbin_error = exception

    def _read(self, request: Any) -> Any:
        with InBlock(Block(self._store, only_reads=True)) as block:
            response = self._get_response(request)
            if _runs_later(response):
                block.take(response.streaming_content)
                response.streaming_content = block.kept()
        return response

    def _write(self, request: Any) -> Any:
        try:
            body = Body(request.environ, self._rules.replay_bytes)
        except IncompleteBodyError:
            return HttpResponseBadRequest()
        requests: list[Any] = []

        def attempt() -> Answer:
            # Django keeps much in a request, and reads its body and its files once.
            again = WSGIRequest({**request.environ, "wsgi.input": body.open()})
            requests.append(again)
            response = self._get_response(again)
            if _runs_later(response):
                response.streaming_content = [*response.streaming_content]
            answer = Answer(status=response.status_code, response=response)
            if response.status_code >= 500:
                answer.error = getattr(again, "dobbin_error", None)
            if response.streaming:
                answer.discard = response.close
            return answer

        try:
            return answered(
                self._store,
                self._rules,
                attempt,
                retry=self._rules.retry if body.replayable else 0,
                note=f"{request.method} {request.path}",
                user=request.environ.get("REMOTE_USER") or "",
            ).response
        finally:
            for used in requests:
                used.close()


def _runs_later(response: Any) -> bool:
    """Tell whether code of the application makes the content while it is sent."""
    content: Iterable[bytes] | None = getattr(response, "streaming_content", None)
    return content is not None and getattr(response, "file_to_stream", None) is None


def stream_response(
    request: Any,
    stream: PersistentStream,
    content_type: str = "application/octet-stream",
    filename: str | None = None,
) -> Any:
    """Return a response that serves a stored stream: ranges, an ETag, conditional requests.

    Args:
        filename: Lets browsers save it under this name.
    """
    part = part_of(
        stream,
        request.method,
        request.headers.get,
        content_type=content_type,
        filename=filename,
    )
    headers = dict(part.headers)
    if not part.size:
        return HttpResponse(status=part.status, headers=headers)
    return _Served(part.open(stream), status=part.status, headers=headers)


class _Served(FileResponse):
    """A file whose headers are known; to find them out, Django would read it to its end."""

    block_size = PIECE_BYTES

    def set_headers(self, filelike: object) -> None:
        pass
