"""A page that adds one to a thing of a store, whichever it is; a store for each thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.peers.registry import store_of

store = store_of(os.environ["PEER"])(os.environ["STORE"], sync=True)


class _Own(threading.local):
    def __init__(self) -> None:
        self.store = store.another()


own = _Own()


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Add one to the thing that the path names by its number."""
    if environ["REQUEST_METHOD"] == "POST":
        own.store.pick(int(environ["PATH_INFO"].lstrip("/")))
        own.store.add()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
