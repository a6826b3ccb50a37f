"""A Flask extension: each request is a transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
from flask.signals import got_request_exception

from dobbin_like.database import Database
from dobbin_like.persistent import Persistent, PersistentStream
from dobbin_like.web.ranges import part_of
from dobbin_like.web.root import open_with_root
from dobbin_like.web.wsgi import WsgiTransactions, note_error
from dobbin_like.web.wsgi_streams import body_of_file

__all__ = ["Dobbin", "send_stream"]

_NAME = "dobbin_like"


class Dobbin:
    """The database of a Flask application.

    ``app.config`` has ``DOBBIN_DATABASE``: a path, a URI as for :func:`dobbin_like.open`, or a
    database.

    Args:
        app: Else call :meth:`init_app`.
        root: Makes the root if there is none.
        rules: See :class:`~dobbin_like.web.request.Rules`.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        root: Callable[[], Persistent] | None = None,
        **rules: Any,
    ) -> None:
        self._make_root = root
        self._rules = rules
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Open the database of *app*, and let its requests be transactions."""
        database = open_with_root(app.config["DOBBIN_DATABASE"], self._make_root)
        app.extensions[_NAME] = database
        got_request_exception.connect(_note_error, app)
        app.wsgi_app = WsgiTransactions(app.wsgi_app, database, **self._rules)

    @property
    def database(self) -> Database:
        """The database of the application in use. RuntimeError: It has none."""
        database: Database | None = flask.current_app.extensions.get(_NAME)
        if database is None:
            text = (
                f"the application {flask.current_app.name!r} has no database: call "
                "init_app(app) of this Dobbin when the application is made"
            )
            raise RuntimeError(text)
        return database

    @property
    def root(self) -> Any:
        """Its root."""
        return self.database.root


def _note_error(_app: flask.Flask, exception: BaseException, **_more: object) -> None:
    note_error(flask.request.environ, exception)


def send_stream(
    stream: PersistentStream,
    mimetype: str = "application/octet-stream",
    download_name: str | None = None,
) -> flask.Response:
    """Return a response that serves a stored stream: ranges, an ETag, conditional requests.

    Args:
        download_name: Lets browsers save it under this name.
    """
    request = flask.request
    part = part_of(
        stream,
        request.method,
        request.headers.get,
        content_type=mimetype,
        filename=download_name,
    )
    body = body_of_file(request.environ, part.open(stream)) if part.size else []
    return flask.Response(body, part.status, part.headers, direct_passthrough=True)
