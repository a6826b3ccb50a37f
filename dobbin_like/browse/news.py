"""What is committed while one looks, as server-sent events.

One task looks at the log for all browsers. Each stream knows the tid that it has sent last and
reads what follows by itself: one that is slow, or was cut off, misses nothing and makes nobody
wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import islice
from typing import Any, Final

from dobbin_like.browse.pages.ask import short_class
from dobbin_like.browse.shown import Shown
from dobbin_like.cli.common import reason
from dobbin_like.cli.text import local_time, safe
from dobbin_like.contract import Transaction
from dobbin_like.exc import Error, PastDroppedError
from dobbin_like.ids import Tid

_LOOK_SECONDS: Final = 0.1
"""Between two looks at the log."""

_ALIVE_SECONDS: Final = 15.0
"""Between two signs of life, by which a connection that is gone is noticed."""

_BATCH: Final = 200
"""Transactions that a stream sends at once; a browser that is further behind is told so."""

_OBJECTS: Final = 20
"""Of a transaction, whose classes are told."""


class News:
    """Tells streams that something was committed."""

    def __init__(self, shown: Shown, closing: Callable[[], bool]) -> None:
        self._shown = shown
        self._closing = closing
        self._is_closed = False
        self._bell = asyncio.Event()
        self.trouble: str = ""

    async def watch(self) -> None:
        """Look at the log until the server closes. The time line is read first."""
        reading = asyncio.create_task(asyncio.to_thread(self._read_moments))
        try:
            while not self._closing():
                await asyncio.sleep(_LOOK_SECONDS)
                try:
                    if self._shown.has_news():
                        await asyncio.to_thread(self._catch_up)
                        self._ring()
                    self.trouble = ""
                except (Error, OSError) as error:
                    self.trouble = str(error)
                    self._ring()
        finally:
            self._is_closed = True
            self._ring()
            with contextlib.suppress(Exception):
                await reading

    def _stopped(self) -> bool:
        return self._is_closed or self._closing()

    def _read_moments(self) -> None:
        self._shown.moments.catch_up(self._stopped)

    def _catch_up(self) -> None:
        self._shown.catch_up()
        self._shown.moments.catch_up(self._stopped)

    def _ring(self) -> None:
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    async def stream(self, last: Tid) -> AsyncIterator[str]:
        """Yield what is committed after *last* as events, until the server closes."""
        yield "retry: 1000\n\n"
        while not self._is_closed:
            bell = self._bell  # Before it is looked: what comes meanwhile rings this one.
            events, last = await asyncio.to_thread(self._after, last)
            for event in events:
                yield event
            if self.trouble:
                yield _event("trouble", {"text": safe(self.trouble)})
                return
            if not events:
                try:
                    await asyncio.wait_for(bell.wait(), _ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still there\n\n"

    def _after(self, last: Tid) -> tuple[list[str], Tid]:
        storage = self._shown.storage
        events: list[str] = []
        try:
            for logged in islice(storage.transactions(last), _BATCH):
                events.append(_event("transaction", self._told(logged), logged.tid))
                last = logged.tid
            if len(events) == _BATCH and storage.tid > last:
                missed = {"after": last}
                last = storage.tid
                events.append(_event("skipped", missed, last))
        except PastDroppedError:  # It was packed while the browser was away.
            last = storage.tid
            events.append(_event("skipped", {}, last))
        except Error as error:
            last = storage.tid
            events.append(_event("damaged", {"text": safe(reason(error))}, last))
        return events, last

    def _told(self, logged: Transaction) -> dict[str, Any]:
        classes: Counter[str] = Counter()
        with contextlib.suppress(Error), self._shown.sight() as sight:
            for oid, stored in islice(sight.storage.entries(logged), _OBJECTS):
                classes[short_class(sight.named(oid, stored))] += 1
        return {
            "tid": str(logged.tid),  # More than the numbers of JavaScript can be sure of.
            "time": local_time(logged.tid),
            "user": safe(logged.user),
            "description": safe(logged.description[:500]),
            "failed": logged.failed,
            "reason": safe(logged.reason[:500]),
            "objects": len(logged.oids),
            "oids": list(logged.oids[:_OBJECTS]),
            "classes": {safe(name): count for name, count in classes.most_common(5)},
        }


def _event(name: str, data: dict[str, Any], tid: int | None = None) -> str:
    head = "" if tid is None else f"id: {tid}\n"
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n"
