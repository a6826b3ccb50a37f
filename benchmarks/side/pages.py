"""A page on each store, under gunicorn: two workers of four threads, and clients that visit it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.side.together import MOST_WRITERS, check
from benchmarks.web import CLIENTS, ROOT, Serving, asked

if TYPE_CHECKING:
    from pathlib import Path


def visited(peer: str, path: Path, seconds: float, *, own: bool) -> dict[str, float]:
    """Let 16 clients visit the page for that long: each its own thing, or all the same.

    Raises AssertionError: What was answered is not there afterwards, or more than that is.
    """
    environment = {"PEER": peer, "STORE": str(path)}
    with Serving("gunicorn", "benchmarks.web_store:app", ROOT, **environment) as serving:

        def visit(client_number: int) -> list[float]:
            index = client_number % MOST_WRITERS if own else 0
            taken = []
            with serving.client() as client:
                end = time.monotonic() + seconds
                while (began := time.monotonic()) < end:
                    status, _, body = asked(client, "POST", f"/{index}")
                    assert status == 200, body
                    taken.append(time.monotonic() - began)
            return taken

        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as clients:
            waits = sorted(wait for each in clients.map(visit, range(CLIENTS)) for wait in each)
        took = time.monotonic() - began
    check(peer, path, len(waits), sync=True)
    return {"rate": len(waits) / took, "p99": waits[int(len(waits) * 0.99)] * 1000}
