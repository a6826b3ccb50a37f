"""The application: which page answers which path, and what becomes of errors.

Pages are made in threads, each from a :class:`.pages.ask.Ask`: reading needs no lock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import cache, partial
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from dobbin_like.browse.html import Html, el, join
from dobbin_like.browse.news import News
from dobbin_like.browse.pages import live, objects, overview, past, search, sizes
from dobbin_like.browse.pages.ask import Ask, Page, WrongAskError, integer
from dobbin_like.browse.pages.frame import bare, framed
from dobbin_like.browse.scans import Countings
from dobbin_like.browse.shown import Shown
from dobbin_like.cli.common import Complaint
from dobbin_like.exc import (
    Error,
    IntegrityError,
    ObjectNotFound,
    PastDroppedError,
    TransactionNotFound,
)
from dobbin_like.ids import NO_TID, Tid

_STATIC: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "graph.js": "text/javascript",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}

Answer = Page | Html | dict[str, Any]


class Browser:
    """What the pages of one database share: how it was opened, and its addresses."""

    def __init__(
        self, shown: Shown, prefix: str, closing: Callable[[], bool] = lambda: False
    ) -> None:
        self._shown = shown
        self._prefix = prefix
        self._closing = closing
        self._countings = Countings()
        self._news: News | None = None

    def app(self) -> Any:
        """Return the ASGI application."""
        pages: dict[str, Callable[[Ask], Answer]] = {
            "/": overview.overview,
            "/object/{number}": objects.state,
            "/tree/{number}": objects.tree,
            "/drawing/{number}": objects.drawing,
            "/neighbours/{number}": objects.neighbours,
            "/history/{number}": past.history,
            "/referrers/{number}": search.referrers,
            "/transactions": past.transactions,
            "/transaction/{number}": past.transaction,
            "/sizes": lambda ask: sizes.sizes(ask, self._countings),
            "/search": search.search,
            "/live": live.live,
        }
        routes = [Route(path, partial(self._page, page)) for path, page in pages.items()]
        routes += [
            Route("/go", self._go),
            Route("/events", self._events),
            Route("/static/{name}", _static),
        ]
        app = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={404: self._not_found},
        )
        app.router.redirect_slashes = False  # It does not know the token.
        return app

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Any) -> AsyncIterator[None]:
        self._news = News(self._shown, self._closing)
        watching = asyncio.create_task(self._news.watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    # -- pages ------------------------------------------------------------------------

    def _page(self, page: Callable[[Ask], Answer], request: Request) -> Response:
        try:
            return self._answer(page, request)
        except (WrongAskError, Complaint, Error, OSError) as error:
            return self._trouble(request, error)

    def _answer(self, page: Callable[[Ask], Answer], request: Request) -> Response:
        query = {name: value for name, value in request.query_params.items() if value}
        if "n" in query:
            return self._at_number(request.url.path, query)
        at = Tid(integer(query["at"], "at")) if "at" in query else None
        number = integer(request.path_params.get("number", "0"), "the number in the address")
        with self._shown.sight(at) as sight:
            ask = Ask(self._shown, sight, self._prefix, request.url.path, query, number, at)
            made = page(ask)
            if isinstance(made, dict):
                return JSONResponse(made)
            return HTMLResponse(made if isinstance(made, Html) else framed(ask, made))

    def _at_number(self, path: str, query: dict[str, str]) -> Response:
        """Lead to the page as of the n-th transaction; that of the last one is now."""
        number, moments = integer(query.pop("n"), "n"), self._shown.moments
        query.pop("at", None)
        if number < len(moments):
            query["at"] = str(moments.tid(number))
        asked = f"?{urlencode(query)}" if query else ""
        return RedirectResponse(f"{self._prefix}{path}{asked}", status_code=303)

    def _go(self, request: Request) -> Response:
        """Lead to the object that an oid or a way leads to."""
        to = request.query_params.get("to", "").strip()
        at = request.query_params.get("at", "")
        try:
            tid = Tid(integer(at, "at")) if at else None
            with self._shown.sight(tid) as sight:
                oid = sight.oid_of(to)
        except (WrongAskError, Complaint, Error, OSError) as error:
            return self._trouble(request, error)
        asked = f"?at={tid}" if tid is not None else ""
        return RedirectResponse(f"{self._prefix}/object/{oid}{asked}", status_code=303)

    def _not_found(self, request: Request, _error: Exception) -> Response:
        message = f"there is no page {request.url.path[:200]!r}"
        return self._trouble(request, Complaint(message))

    def _trouble(self, request: Request, error: Exception) -> Response:
        """Return the page that tells what is wrong, as of now if the past is what is wrong."""
        status = _status(error)
        told = getattr(error, "message", None) or str(error)
        box = el("p", told, class_="trouble", role="alert")
        if "part" in request.query_params or "/neighbours/" in request.url.path:
            return HTMLResponse(box, status_code=status)
        try:
            with self._shown.sight() as sight:
                ask = Ask(self._shown, sight, self._prefix, request.url.path, {})
                home = el("p", ask.link("To the overview", "/"), class_="pages")
                page = Page("Not shown", join(el("h1", "Not shown"), box, home))
                return HTMLResponse(framed(ask, page), status_code=status)
        except (Error, OSError):  # The file itself is not as it should be.
            hint = el("p", "If the file is another one now, start dobbin browse again.")
            page = Page("Not shown", join(el("h1", "Not shown"), box, hint))
            return HTMLResponse(bare(self._prefix, page), status_code=500)

    # -- news, and what does not change ----------------------------------------------

    async def _events(self, request: Request) -> Response:
        given = request.headers.get("last-event-id") or request.query_params.get("since", "")
        try:
            last = Tid(integer(given, "since")) if given else self._shown.storage.tid
        except WrongAskError as error:
            return HTMLResponse(el("p", str(error)), status_code=400)
        assert self._news is not None, "the lifespan has begun"
        stream = self._news.stream(max(last, NO_TID))
        return StreamingResponse(stream, media_type="text/event-stream")


def _status(error: Exception) -> int:
    if isinstance(error, WrongAskError):
        return 400
    if isinstance(error, (Complaint, ObjectNotFound, TransactionNotFound)):
        return 404
    if isinstance(error, PastDroppedError):
        return 410
    return 200 if isinstance(error, IntegrityError) else 500


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return Response("Not found.\n", 404, media_type="text/plain")
    # The address has the token, which is another one with the next version.
    headers = {"cache-control": "private, max-age=86400"}
    return Response(_content(name), headers=headers, media_type=_STATIC[name])


@cache
def _content(name: str) -> bytes:
    return files("dobbin_like.browse").joinpath("static", name).read_bytes()
