"""A page that counts by a plain number, so that requests are in conflict; by WSGI and by ASGI."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from dobbin_like import PersistentDict, checkout
from dobbin_like import open as open_database
from dobbin_like.web.asgi import AsgiTransactions
from dobbin_like.web.root import set_first_root
from dobbin_like.web.wsgi import WsgiTransactions

db = open_database(os.environ["COUNTER"])
set_first_root(db, lambda: PersistentDict(visits=0))


def answer(method: str) -> bytes:
    if method == "POST":
        checkout(db.root)
        db.root["visits"] += 1
    return str(db.root["visits"]).encode()


def wsgi_page(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    text = answer(environ["REQUEST_METHOD"])
    start_response("200 OK", [("Content-Length", str(len(text)))])
    return [text]


async def asgi_page(scope: Any, _receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError  # "lifespan": the server goes on without it.
    text = answer(scope["method"])
    length = (b"content-length", str(len(text)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": text})


wsgi = WsgiTransactions(wsgi_page, db)
asgi = AsgiTransactions(asgi_page, db)
