"""A small web application: every request that ``benchmarks.servers`` sends it writes something.

The database and the safe are opened when the module is imported: by the master of a server that
loads the application before it forks, else by each worker.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import transaction

from dobbin_like import Database, PersistentDict, checkout, safe
from dobbin_like.exc import PackRunningError

if TYPE_CHECKING:
    from collections.abc import Iterable

ATTEMPTS = 1000

loaded_by = os.getpid()
database = Database(os.environ["SHOP_DATABASE"])
visits = safe.open(os.environ["SHOP_SAFE"])

for attempt in transaction.attempts(ATTEMPTS):  # Several workers may be about to set it.
    with attempt:
        if database.root is None:
            database.set_root(PersistentDict(total=0, orders=PersistentDict()))


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    command, _, order = environ["PATH_INFO"].strip("/").partition("/")
    try:
        tries = {"order": put_in, "pack": pack}[command](order)
    except Exception as error:
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [f"{type(error).__name__}: {error}".encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{loaded_by} {os.getpid()} {tries}".encode()]


def put_in(order: str) -> int:
    """Note an order and count it, in both files: once, however often it is asked for."""
    tries = 0
    for attempt in transaction.attempts(ATTEMPTS):
        with attempt:
            tries += 1
            root = database.root
            if order not in root["orders"]:
                checkout(root, root["orders"])
                root["orders"][order] = os.getpid()
                root["total"] += 1
    with visits.transaction():
        if order not in visits:
            visits[order] = os.getpid()
            visits["total"] = visits.get("total", 0) + 1
    return tries


def pack(_order: str) -> int:
    try:
        database.pack()
    except PackRunningError:  # Another worker is at it.
        return 0
    return 1
