"""Stored streams over HTTP: ranges, ETags and conditions, the same from every way to serve one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import pytest

from dobbin_like import checkout
from dobbin_like.web.asgi import AsgiTransactions
from dobbin_like.web.asgi_streams import AsgiStream
from dobbin_like.web.wsgi import WsgiTransactions
from dobbin_like.web.wsgi_streams import WsgiStream
from tests.helpers.web import db, with_stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from dobbin_like import Database

__all__ = ["db"]

DATA = bytes(range(256)) * 1000

Answer = tuple[int, dict[str, str], bytes]


def by_wsgi(app: Any, method: str, headers: dict[str, str], **more: Any) -> Answer:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()},
        **more,
    }
    setup_testing_defaults(environ)
    told: list[Any] = []
    body = app(environ, lambda *start: told.extend(start))
    try:
        content = b"".join(body)
    finally:
        getattr(body, "close", lambda: None)()
    return int(told[0][:3]), {name.lower(): value for name, value in told[1]}, content


def by_asgi(app: Any, method: str, headers: dict[str, str]) -> Answer:
    given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": given}
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    asyncio.run(app(scope, receive, send))
    start, *rest = sent
    assert [message["more_body"] for message in rest[:-1]] == [True] * (len(rest) - 1)
    told = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], told, b"".join(message["body"] for message in rest)


def wsgi(db: Database, **options: Any) -> Callable[..., Answer]:
    app = WsgiTransactions(WsgiStream(db.root["stream"], **options), db)
    return lambda method, headers: by_wsgi(app, method, headers)


def wsgi_file_wrapper(db: Database, **options: Any) -> Callable[..., Answer]:
    app = WsgiTransactions(WsgiStream(db.root["stream"], **options), db)
    wrapper = {"wsgi.file_wrapper": FileWrapper}
    return lambda method, headers: by_wsgi(app, method, headers, **wrapper)


def asgi(db: Database, **options: Any) -> Callable[..., Answer]:
    app = AsgiTransactions(AsgiStream(db.root["stream"], **options), db)
    return lambda method, headers: by_asgi(app, method, headers)


def starlette(db: Database, content_type: str = "text/x", **options: Any) -> Callable[..., Answer]:
    pytest.importorskip("starlette")
    from dobbin_like.web.starlette import StreamResponse

    app = AsgiTransactions(StreamResponse(db.root["stream"], content_type, **options), db)
    return lambda method, headers: by_asgi(app, method, headers)


def flask(db: Database, content_type: str = "text/x", **options: Any) -> Callable[..., Answer]:
    flask = pytest.importorskip("flask")
    from dobbin_like.web.flask import Dobbin, send_stream

    app = flask.Flask(__name__)
    app.config["DOBBIN_DATABASE"] = db
    dobbin = Dobbin(app)

    @app.route("/", methods=["GET", "HEAD", "POST"])
    def serve() -> Any:
        return send_stream(dobbin.root["stream"], content_type, options.get("filename"))

    return lambda method, headers: by_wsgi(app, method, headers)


def django(db: Database, content_type: str = "text/x", **options: Any) -> Callable[..., Answer]:
    pytest.importorskip("django")
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import override_settings
    from django.urls import path as url

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="key", LOGGING_CONFIG=None)
        django.setup()
    from dobbin_like.web.django import stream_response

    def view(request: Any) -> Any:
        return stream_response(request, db.root["stream"], content_type, **options)

    class Urls:
        urlpatterns = (url("", view),)

    def ask(method: str, headers: dict[str, str]) -> Answer:
        middleware = ["dobbin_like.web.django.TransactionMiddleware"]
        given = {"DOBBIN_DATABASE": db, "MIDDLEWARE": middleware, "ROOT_URLCONF": Urls}
        wrapper = {"wsgi.file_wrapper": FileWrapper}
        with override_settings(**given):
            return by_wsgi(WSGIHandler(), method, headers, **wrapper)

    return ask


@pytest.fixture(params=[wsgi, wsgi_file_wrapper, asgi, starlette, flask, django])
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def ask(way, db):
    with_stream(db, DATA)
    return way(db)


def test_a_stream_is_served(way, db):
    with_stream(db, DATA)
    ask = way(db, content_type="audio/ogg", filename="Krähe.ogg")

    status, headers, body = ask("GET", {})
    assert (status, body == DATA) == (200, True)
    assert headers["content-length"] == "256000"
    assert headers["content-type"] == "audio/ogg"
    assert headers["accept-ranges"] == "bytes"
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''Kr%C3%A4he.ogg"
    assert ask("HEAD", {}) == (200, headers, b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-", 100, 256_000),
        ("bytes=10-99", 10, 100),
        ("bytes=65530-65545", 65530, 65546),
        ("bytes=-5", 255_995, 256_000),
        ("bytes=255999-999999", 255_999, 256_000),
    ],
)
def test_a_range_is_served(ask, asked, start, end):
    status, headers, body = ask("GET", {"Range": asked})

    assert (status, body == DATA[start:end]) == (206, True)
    assert headers["content-range"] == f"bytes {start}-{end - 1}/256000"
    assert headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", ["bytes=256000-", "bytes=300000-300001", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused(ask, asked):
    status, headers, body = ask("GET", {"Range": asked})

    assert (status, headers["content-range"], body) == (416, "bytes */256000", b"")


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,5-6", "items=0-1", "bytes=5-1", "bytes=-", "0-1", "bytes=-999999"]
)
def test_what_is_no_single_range_is_answered_by_all(ask, asked):
    status, headers, body = ask("GET", {"Range": asked})

    assert (status, len(body)) == (200, 256_000)
    assert "content-range" not in headers


def test_who_has_it_already_is_told(ask):
    etag = ask("HEAD", {})[1]["etag"]

    for given in etag, f"W/{etag}", f'"x", {etag}', "*":
        for method in "GET", "HEAD":
            status, headers, body = ask(method, {"If-None-Match": given})
            assert (status, headers["etag"], body) == (304, etag, b"")
    assert ask("GET", {"If-None-Match": '"x"'})[0] == 200
    assert ask("GET", {"If-Match": '"x", "y"'})[0] == 412
    assert ask("GET", {"If-Match": f'"x", {etag}'})[0] == 200


def test_a_range_of_another_version_is_answered_by_all(ask):
    etag = ask("HEAD", {})[1]["etag"]

    assert ask("GET", {"Range": "bytes=0-1", "If-Range": etag})[0] == 206
    for other in '"x"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT":
        assert ask("GET", {"Range": "bytes=0-1", "If-Range": other})[0] == 200


def test_another_stream_has_another_etag(way, db):
    with_stream(db, DATA)
    first = way(db)("HEAD", {})[1]["etag"]
    with_stream(db, DATA)

    assert way(db)("HEAD", {})[1]["etag"] != first


def test_an_empty_stream_is_served(way, db):
    with_stream(db, b"")
    ask = way(db)

    status, headers, body = ask("GET", {"Range": "bytes=-5"})
    assert (status, headers["content-length"], body) == (200, "0", b"")
    assert ask("GET", {"Range": "bytes=0-"})[0] == 416


def test_a_stream_is_served_while_the_log_is_packed(way, db):
    stream = with_stream(db, DATA)
    with db.transaction() as root:
        checkout(root)
        root["more"] = list(range(1000))
    ask = way(db)
    db.pack()

    assert ask("GET", {})[2] == DATA
    assert stream._p_serial == db.root["stream"]._p_serial
