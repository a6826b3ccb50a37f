"""Flask, Starlette and FastAPI, Django, Pyramid: the same story in each, by its test client."""

from __future__ import annotations

import asyncio
import gc
import io
import sys
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, cast

import pytest
import transaction
from transaction.interfaces import TransientError

from dobbin_like import (
    BTree,
    BTreeSet,
    Database,
    Persistent,
    PersistentCounter,
    PersistentDict,
    PersistentFile,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    TransactionLog,
    checkout,
)
from dobbin_like.exc import OtherManagerError
from dobbin_like.web.uploads import stored_upload
from tests.helpers.web import Rival, ask_asgi, count, in_own_thread, make_root, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Fault(Exception):
    """What a handler raises."""


@dataclass
class Site:
    """An application of some framework that is running, and how it is asked.

    ``POST /count`` counts, and a rival comes between; ``/fail`` counts, and raises one of the
    errors if there are any left; ``/refuse`` counts, and says 404 as the framework likes it;
    ``/store`` stores its body; ``GET /count`` and ``/stream`` read.
    """

    db: Database
    rival: Rival
    ask: Callable[..., tuple[int, bytes]]
    errors: list[Exception]
    leaves_none: bool = True


class Handlers:
    """What the applications do; ``database`` finds the database in use."""

    def __init__(self, database: Callable[[], Database]) -> None:
        self.database = database
        self.rival: Any = None
        self.errors: list[Exception] = [Fault()]

    def count(self) -> str:
        number = count(self.database())
        self.rival.comes_between()
        return str(number)

    def fail(self) -> str:
        count(self.database())
        if self.errors:
            raise self.errors.pop()
        return "well"

    def number(self) -> str:
        return str(self.database().root["n"])

    def pages(self) -> Iterator[bytes]:
        for _ in range(2):
            yield f"{self.number()} ".encode()
            self.rival.comes_between()

    def store(self, source: Any) -> str:
        root = self.database().root
        checkout(root)
        root["n"] += 1
        root["file"] = stored_upload(source)
        self.rival.comes_between()
        return ""


def flask_site(path: Any) -> Iterator[Site]:
    flask = pytest.importorskip("flask")
    from dobbin_like.web.flask import Dobbin

    app = flask.Flask(__name__)
    app.config["DOBBIN_DATABASE"] = str(path)
    dobbin = Dobbin(root=make_root)
    dobbin.init_app(app)
    do = Handlers(lambda: dobbin.database)
    app.post("/count")(do.count)
    app.post("/fail")(do.fail)
    app.get("/count")(do.number)

    @app.post("/refuse")
    def refuse() -> None:
        do.count()
        flask.abort(404)

    @app.post("/store")
    def store() -> str:
        return do.store(flask.request.files["file"])

    @app.get("/stream")
    def stream() -> Any:
        return flask.stream_with_context(do.pages())

    client = app.test_client()

    def ask(method: str, page: str, data: bytes | None = None) -> tuple[int, bytes]:
        fields = None if data is None else {"file": (io.BytesIO(data), "name")}
        with client.open(page, method=method, data=fields) as response:
            return response.status_code, response.data

    with app.app_context():
        database = dobbin.database
    with database:
        do.rival = Rival(database)
        yield Site(database, do.rival, ask, do.errors)


def starlette_site(path: Any) -> Iterator[Site]:
    applications = pytest.importorskip("starlette.applications")
    testclient = pytest.importorskip("starlette.testclient", exc_type=Exception)
    from starlette import responses, routing
    from starlette.exceptions import HTTPException

    from dobbin_like.web import starlette as web

    opened: dict[str, Database] = {}
    do = Handlers(lambda: opened["db"])

    def endpoint(function: Callable[[], str]) -> Any:
        async def call(_request: Any) -> Any:
            return responses.PlainTextResponse(function())

        return call

    def refuse(_request: Any) -> Any:  # In a thread.
        do.count()
        raise HTTPException(404)

    async def store(request: Any) -> Any:
        async with request.form() as form:
            return responses.PlainTextResponse(do.store(form["file"]))

    def stream(_request: Any) -> Any:
        return responses.StreamingResponse(do.pages())

    app = applications.Starlette(
        lifespan=web.lifespan(path, root=make_root),
        routes=[
            routing.Route("/count", endpoint(do.count), methods=["POST"]),
            routing.Route("/count", endpoint(do.number)),
            routing.Route("/fail", endpoint(do.fail), methods=["POST"]),
            routing.Route("/refuse", refuse, methods=["POST"]),
            routing.Route("/store", store, methods=["POST"]),
            routing.Route("/stream", stream),
        ],
    )
    app.add_middleware(web.AsgiTransactions)
    yield from _asgi_site(testclient.TestClient, app, do, opened)


def fastapi_site(path: Any) -> Iterator[Site]:
    fastapi = pytest.importorskip("fastapi")
    testclient = pytest.importorskip("fastapi.testclient", exc_type=Exception)
    pytest.importorskip("python_multipart")
    from fastapi.responses import StreamingResponse
    from starlette.middleware.base import BaseHTTPMiddleware

    from dobbin_like.web import starlette as web

    opened: dict[str, Database] = {}
    do = Handlers(lambda: opened["db"])
    app = fastapi.FastAPI(lifespan=web.lifespan(path, root=make_root))

    async def pass_on(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    # It runs the rest in another task, inside of the transaction.
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    app.add_middleware(web.AsgiTransactions)
    root = fastapi.Depends(web.root)

    @app.post("/count")
    def post(root=root) -> Any:  # In a thread.
        return fastapi.Response(do.count())

    @app.post("/fail")
    def fail() -> Any:
        return fastapi.Response(do.fail())

    @app.get("/count")
    async def get(root=root) -> Any:
        return root["n"]

    @app.post("/refuse")
    async def refuse() -> Any:
        do.count()
        raise fastapi.HTTPException(404)

    def store(file: Any) -> Any:
        return do.store(file)

    store.__annotations__["file"] = fastapi.UploadFile
    app.post("/store")(store)

    @app.get("/stream")
    def stream() -> Any:
        return StreamingResponse(do.pages())

    yield from _asgi_site(testclient.TestClient, app, do, opened)


def _asgi_site(make_client: Any, app: Any, do: Handlers, opened: Any) -> Iterator[Site]:
    with make_client(app, raise_server_exceptions=False) as client:
        opened["db"] = client.app_state["db"]
        do.rival = Rival(opened["db"])

        def ask(method: str, page: str, data: bytes | None = None) -> tuple[int, bytes]:
            files = None if data is None else {"file": data}
            response = client.request(method, page, files=files)
            return response.status_code, response.content

        yield Site(opened["db"], do.rival, ask, do.errors)
    assert opened["db"].closed


def django_site(path: Any) -> Iterator[Site]:
    django = pytest.importorskip("django")
    from django.conf import settings
    from django.test import Client, override_settings
    from django.urls import path as url

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="key", LOGGING_CONFIG=None)
        django.setup()
    from dobbin_like.web import django as web

    do = Handlers(web.database)

    class Urls:
        urlpatterns = (url("<name>", django_view(do)),)

    client = Client(raise_request_exception=False)

    def ask(method: str, page: str, data: bytes | None = None) -> tuple[int, bytes]:
        if method == "GET":
            response = client.get(page)
        else:
            fields = None if data is None else {"file": io.BytesIO(data)}
            response = client.post(page, fields)
        content = b"".join(response) if response.streaming else response.content
        response.close()
        return response.status_code, content

    with (
        override_settings(
            ROOT_URLCONF=Urls,
            MIDDLEWARE=["dobbin_like.web.django.TransactionMiddleware"],
            DOBBIN_DATABASE=str(path),
            DOBBIN_ROOT="tests.helpers.web.make_root",
        ),
        web.database() as database,
    ):
        do.rival = Rival(database)
        yield Site(database, do.rival, ask, do.errors)


def django_view(do: Handlers) -> Any:
    from django.http import Http404, HttpResponse, StreamingHttpResponse

    def refuse() -> None:
        do.count()
        raise Http404

    def get(_request: Any, name: str) -> Any:
        if name == "stream":
            return StreamingHttpResponse(do.pages())
        return HttpResponse(do.number())

    def post(request: Any, name: str) -> Any:
        if name == "store":
            return HttpResponse(do.store(request.FILES["file"]))
        return HttpResponse({"count": do.count, "fail": do.fail, "refuse": refuse}[name]())

    def view(request: Any, name: str) -> Any:
        return (get if request.method == "GET" else post)(request, name)

    return view


def pyramid_site(path: Any, hook: str = "pyramid_tm.explicit_manager") -> Iterator[Site]:
    config_module = pytest.importorskip("pyramid.config")
    webtest = pytest.importorskip("webtest")
    pytest.importorskip("pyramid_tm")
    pytest.importorskip("pyramid_retry")
    from pyramid.httpexceptions import HTTPNotFound
    from pyramid.response import Response

    settings = {
        "dobbin.database": str(path),
        "dobbin.root": "tests.helpers.web.make_root",
        "tm.manager_hook": hook,
    }
    config = config_module.Configurator(settings=settings)
    config.include("dobbin_like.web.pyramid")
    opened: dict[str, Database] = {}
    do = Handlers(lambda: opened["db"])

    def view(request: Any) -> Any:
        opened["db"] = request.db
        do.rival.db = request.db
        name = request.matchdict["name"]
        if request.method == "GET":
            if name == "stream":
                return Response(app_iter=do.pages())
            return Response(do.number())
        if name == "refuse":
            do.count()
            raise HTTPNotFound
        if name == "store":
            return Response(do.store(request.POST["file"]))
        return Response({"count": do.count, "fail": do.fail}[name]())

    config.add_route("page", "/{name}")
    config.add_view(view, route_name="page")
    client = webtest.TestApp(config.make_wsgi_app())

    def ask(method: str, page: str, data: bytes | None = None) -> tuple[int, bytes]:
        files = None if data is None else [("file", "name", data)]
        try:
            response = (
                client.request(page, method=method, expect_errors=True)
                if files is None
                else client.post(page, upload_files=files)
            )
        except Fault:
            return 500, b""
        return response.status_int, response.body

    do.rival = Rival(None, times=0)  # type: ignore[arg-type]  # A request tells it.
    assert ask("GET", "/count") == (200, b"0")
    do.rival.times = 1
    do.rival.asked = 0
    with opened["db"] as database:
        yield Site(database, do.rival, ask, do.errors, leaves_none="explicit" in hook)


def pyramid_thread_site(path: Any) -> Iterator[Site]:
    yield from pyramid_site(path, hook="tests.helpers.web.manager_of_thread")


SITES = {
    "flask": flask_site,
    "starlette": starlette_site,
    "fastapi": fastapi_site,
    "django": django_site,
    "pyramid": pyramid_site,
    "pyramid-thread": pyramid_thread_site,
}


@pytest.fixture(params=SITES)
def site(request: pytest.FixtureRequest, path: Any) -> Iterator[Site]:
    yield from SITES[request.param](path)


def keeps_no_snapshot(site: Site) -> bool:
    """Tell whether no thread has one; a manager that is not explicit begins anew at once."""
    return not (site.leaves_none and len(site.db._store.graph.shared.horizon))


def test_a_request_counts_though_another_one_is_faster(site):
    assert site.ask("POST", "/count") == (200, b"11")
    assert site.rival.asked == 2
    assert stored(site.db) == {"n": 11}
    assert keeps_no_snapshot(site)


def test_a_handler_that_raises_leaves_nothing(site):
    assert site.ask("POST", "/fail")[0] == 500
    assert stored(site.db) == {"n": 0}
    site.rival.times = 0
    assert site.ask("POST", "/count") == (200, b"1")
    assert stored(site.db) == {"n": 1}
    assert keeps_no_snapshot(site)


def test_a_handler_that_has_a_conflict_is_run_again(site):
    site.errors[:] = [TransientError(), TransientError()]
    assert site.ask("POST", "/fail") == (200, b"well")
    assert stored(site.db) == {"n": 1}


def test_a_page_that_is_not_there_leaves_nothing(site):
    site.rival.times = 0
    assert site.ask("POST", "/refuse")[0] == 404
    assert stored(site.db) == {"n": 0}


def test_no_read_is_stale(site):
    site.rival.times = 0
    for number in range(3):
        assert site.ask("GET", "/count") == (200, str(number).encode())
        in_own_thread(lambda: count(site.db))
    assert site.ask("POST", "/count") == (200, b"4")
    assert keeps_no_snapshot(site)


def test_an_upload_is_stored_though_it_is_run_again(site):
    data = bytes(range(256)) * 20  # Of more, WebOb leaves a file to the garbage collector.
    assert site.ask("POST", "/store", data)[0] == 200
    assert site.rival.asked == 2
    with site.db.reading() as root:
        assert b"".join(root["file"]) == data


def test_a_stream_shows_one_snapshot(site, request):
    if "pyramid" in request.node.callspec.id:
        pytest.skip("the transaction of pyramid_tm ends before its response is sent")
    assert site.ask("GET", "/stream") == (200, b"0 0 ")
    assert stored(site.db) == {"n": 10}
    assert keeps_no_snapshot(site)


# -- Django alone ---------------------------------------------------------------------------


@pytest.fixture
def django(path: Any) -> Iterator[Site]:
    yield from django_site(path)


@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
def test_django_under_asgi_is_wrapped(django):
    from django.core.asgi import get_asgi_application
    from django.core.exceptions import ImproperlyConfigured
    from django.test import AsyncClient, override_settings

    from dobbin_like.web.asgi import AsgiTransactions

    async def main():
        with pytest.raises(ImproperlyConfigured, match="AsgiTransactions"):
            await AsyncClient().post("/count")
        with override_settings(MIDDLEWARE=[]):
            app = AsgiTransactions(get_asgi_application(), django.db)
            assert await ask_asgi(app, path="/count") == (200, "11")
            assert (await ask_asgi(app, path="/refuse"))[0] == 404
            assert await ask_asgi(app, "GET", path="/count") == (200, "11")

    asyncio.run(main())
    gc.collect()  # Django leaves the body open when an answer can't be sent.
    assert stored(django.db) == {"n": 11}


def test_django_goes_by_its_rules(django):
    from django.test import Client, override_settings

    django.rival.times = 0
    with override_settings(DOBBIN_RULES={"read_methods": (), "abort_from": 500}):
        client = Client()
        assert client.post("/refuse").status_code == 404
        assert client.get("/stream").getvalue() == b"1 1 "
    with override_settings(DOBBIN_RULES={"skip": lambda _method, path: path == "/count"}):
        assert Client().post("/count").content == b"2"
    assert stored(django.db) == {"n": 1}
    transaction.abort()


def test_django_does_not_run_what_is_cut_off(django):
    from django.test import Client

    body = {"CONTENT_LENGTH": "10", "wsgi.input": io.BytesIO(b"12345")}
    response = Client().post("/count", b"", "text/plain", **body)

    assert response.status_code == 400
    assert stored(django.db) == {"n": 0}


# -- a database that was opened without regard to the framework ------------------------


@pytest.fixture
def ask_pyramid(path: Any) -> Iterator[Any]:
    """Ask a function for an answer in a request with a transaction manager of its own."""
    config_module = pytest.importorskip("pyramid.config")
    webtest = pytest.importorskip("webtest")
    pytest.importorskip("pyramid_tm")
    settings = {"tm.manager_hook": "pyramid_tm.explicit_manager"}
    config = config_module.Configurator(settings=settings)
    config.include("pyramid_tm")
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict(n=0))
        transaction.commit()
        handlers: list[Any] = []
        config.add_route("page", "/")
        config.add_view(
            lambda _request: handlers.pop()(database), route_name="page", renderer="json"
        )
        client = webtest.TestApp(config.make_wsgi_app())

        def ask(handler: Any) -> Any:
            handlers.append(handler)
            return client.get("/").json

        yield ask
        transaction.abort()


def add_one(database: Database) -> int:
    checkout(database.root)
    database.root["n"] += 1
    return cast("int", database.root["n"])


def add_one_in_a_block(database: Database) -> int:
    with database.transaction():
        return add_one(database)


def test_a_change_that_no_request_would_commit_is_refused(ask_pyramid, again):
    with pytest.raises(OtherManagerError, match="manager_in_use"):
        ask_pyramid(add_one)
    with pytest.raises(OtherManagerError):
        ask_pyramid(add_one)

    transaction.commit()
    assert again().root["n"] == 0


def test_a_change_in_a_block_of_its_own_is_stored_by_any_request(ask_pyramid, again):
    assert [ask_pyramid(add_one_in_a_block) for _ in range(2)] == [1, 2]

    assert again().root["n"] == 2


def test_a_database_that_follows_the_request_is_changed_by_it(ask_pyramid, path):
    from dobbin_like.web.pyramid import manager_in_use

    with Database(path, transaction_manager=manager_in_use) as following:
        assert ask_pyramid(lambda _: add_one(following)) == 1
        assert ask_pyramid(lambda _: add_one(following)) == 2


def test_what_a_request_does_not_do_is_left_alone(ask_pyramid, again):
    ask_pyramid(lambda database: database.root["n"])
    with transaction.manager:
        pass
    database = again(transaction_manager=transaction.manager)

    assert add_one(database) == 1
    transaction.commit()


# -- a middleware, or an extension, that was forgotten -------------------------------------


def _asgi_app(path: Any, *middleware: Any, is_opened: bool = True) -> Any:
    fastapi = pytest.importorskip("fastapi")
    from dobbin_like.web import starlette as web

    make = web.lifespan(path, root=make_root) if is_opened else None
    app = fastapi.FastAPI(lifespan=make)
    for each, rules in middleware:
        app.add_middleware(each, **rules)
    root = fastapi.Depends(web.root)

    def in_thread(root=root) -> int:
        checkout(root)
        root["n"] += 1
        return cast("int", root["n"])

    async def in_task(root=root) -> int:
        return in_thread(root)

    async def in_socket(socket: Any, root=root) -> None:
        await socket.accept()
        await socket.send_json(root["n"])

    in_socket.__annotations__["socket"] = fastapi.WebSocket
    app.post("/thread")(in_thread)
    app.post("/task")(in_task)
    app.websocket("/socket")(in_socket)
    return app


@pytest.fixture
def client_of() -> Any:
    return pytest.importorskip("starlette.testclient", exc_type=Exception).TestClient


@pytest.mark.parametrize("page", ["/thread", "/task"])
def test_the_root_of_a_request_that_is_no_transaction_is_refused(path, client_of, page):
    with (
        client_of(_asgi_app(path)) as client,
        pytest.raises(RuntimeError, match=r"add_middleware.AsgiTransactions.*request.state.db"),
    ):
        client.post(page)


def test_the_root_of_a_socket_is_refused_without_middleware(path, client_of):
    from dobbin_like.web.starlette import AsgiTransactions

    with (
        client_of(_asgi_app(path)) as client,
        pytest.raises(RuntimeError, match="add_middleware"),
        client.websocket_connect("/socket"),
    ):
        pass
    with (
        client_of(_asgi_app(path, (AsgiTransactions, {}))) as client,
        client.websocket_connect("/socket") as socket,
    ):
        assert socket.receive_json() == 0


def test_a_request_that_is_left_alone_has_a_root(path, client_of):
    from dobbin_like.web.starlette import AsgiTransactions

    rules = {"skip": lambda _method, _path: True}
    with client_of(_asgi_app(path, (AsgiTransactions, rules))) as client:
        assert client.post("/thread").json() == 1


def test_the_middleware_may_be_around_the_application(path, client_of):
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from dobbin_like.web.starlette import AsgiTransactions, lifespan

    with client_of(AsgiTransactions(_asgi_app(path))) as client:
        assert client.post("/thread").json() == 1
    below = Starlette(routes=[Mount("/below", _asgi_app(path))], lifespan=lifespan(path))
    with client_of(AsgiTransactions(below)) as client:
        assert client.post("/below/task").json() == 2


def test_the_root_without_a_lifespan_tells_of_it(path, client_of):
    with (
        client_of(_asgi_app(path, is_opened=False)) as client,
        pytest.raises(RuntimeError, match="lifespan"),
    ):
        client.post("/thread")


def test_django_refuses_the_database_to_a_request_without_middleware(django, monkeypatch):
    from django.core.exceptions import ImproperlyConfigured
    from django.test import Client, override_settings

    from dobbin_like.web import django as web
    from dobbin_like.web.request import Rules

    with override_settings(MIDDLEWARE=[]):
        monkeypatch.setattr(Rules, "in_use", False)
        for ask in Client().post, Client().get:
            with pytest.raises(ImproperlyConfigured, match=r"first in MIDDLEWARE.*AsgiTrans"):
                ask("/count")
        assert web.database() is django.db  # For a command, say.
    assert Client().get("/count").content == b"0"


def test_flask_tells_of_an_application_that_has_no_database():
    flask = pytest.importorskip("flask")
    from dobbin_like.web.flask import Dobbin

    dobbin = Dobbin()
    with (
        flask.Flask("shop").app_context(),
        pytest.raises(RuntimeError, match=r"'shop' has no database: call init_app"),
    ):
        assert dobbin.root


def test_pyramid_tells_of_a_request_that_has_no_transaction(path):
    config_module = pytest.importorskip("pyramid.config")
    webtest = pytest.importorskip("webtest")
    from dobbin_like.web.pyramid import manager_in_use

    with Database(path, transaction_manager=manager_in_use) as database:
        config = config_module.Configurator()
        config.add_route("page", "/")
        config.add_view(lambda _: database.root, route_name="page", renderer="json")
        client = webtest.TestApp(config.make_wsgi_app())
        with pytest.raises(RuntimeError, match=r'include\("pyramid_tm"\)'):
            client.get("/")


# -- what FastAPI makes JSON of ---------------------------------------------------------------


class Tags(PersistentList[Any]):
    """A list of a program."""

    def __init__(self) -> None:
        super().__init__([1])
        self.note = "no item"


RETURNED = {
    "list": (lambda root: root["list"], [1, [2, 3], "2020-01-01"]),
    "tags": (lambda root: root["tags"], [1]),
    "pairs": (lambda root: root["pairs"], [[1, 2]]),
    "set": (lambda root: root["set"], [1]),
    "tree": (lambda root: root["tree"], {"1": [2]}),
    "tree-set": (lambda root: root["tree-set"], [1, 2]),
    "counter": (lambda root: root["counter"], 3),
    "queue": (lambda root: root["queue"], [1, 2]),
    "dict": (lambda root: root["dict"], {"a": [1]}),
    "plain": (lambda root: [{"in it": root["queue"]}], [{"in it": [1, 2]}]),
    "object": (lambda root: root["object"], {"name": "Ada", "tags": [1]}),
    "found": (lambda root: root._p_jar.find(Person), [{"name": "Ada", "tags": [1]}]),
}


class Person(Persistent):
    """An object with a collection."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tags = PersistentList([1])


def make_all() -> PersistentDict[str, Any]:
    return PersistentDict(
        {
            "list": PersistentList([1, PersistentList([2, 3]), date(2020, 1, 1)]),
            "tags": Tags(),
            "pairs": PersistentList([(1, 2)]),
            "set": PersistentSet([1]),
            "tree": BTree({1: PersistentList([2])}),
            "tree-set": BTreeSet([2, 1]),
            "counter": PersistentCounter(3),
            "queue": PersistentQueue([1, 2]),
            "dict": PersistentDict(a=PersistentList([1])),
            "object": Person("Ada"),
            "file": PersistentFile(io.BytesIO(b"...")),
        }
    )


@pytest.fixture
def ask_fastapi(path: Any, client_of: Any) -> Iterator[Any]:
    fastapi = pytest.importorskip("fastapi")
    from dobbin_like.web import starlette as web

    app = fastapi.FastAPI(lifespan=web.lifespan(path, root=make_all))
    app.add_middleware(web.AsgiTransactions)
    root = fastapi.Depends(web.root)

    @app.get("/stream")
    def stream(root=root):
        return root["file"]

    @app.get("/{name}")
    def get(name: str, root=root):
        return RETURNED[name][0](root)

    with client_of(app) as client:
        yield lambda name: client.get(f"/{name}").json()


@pytest.mark.parametrize("name", RETURNED)
def test_fastapi_makes_json_of_collections(ask_fastapi, name):
    assert ask_fastapi(name) == RETURNED[name][1]


def test_fastapi_makes_no_json_of_streams(ask_fastapi):
    with pytest.raises(TypeError, match="StreamResponse"):
        ask_fastapi("stream")


def test_an_encoder_of_the_program_stays(monkeypatch):
    encoders = pytest.importorskip("fastapi.encoders")
    from dobbin_like.web.starlette import encode_collections

    monkeypatch.setattr(encoders, "encoders_by_class_tuples", {len: (Tags,)})
    for _ in range(2):
        encode_collections()

    assert len(encoders.encoders_by_class_tuples) == 4
    assert encoders.jsonable_encoder([Tags(), PersistentList([2])]) == [1, [2]]


def test_without_fastapi_there_is_nothing_to_do(monkeypatch):
    pytest.importorskip("starlette")
    from dobbin_like.web.starlette import encode_collections

    monkeypatch.delitem(sys.modules, "fastapi.encoders", raising=False)
    encode_collections()
