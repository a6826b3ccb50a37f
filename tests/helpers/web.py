"""What the tests of web applications share: a root, somebody who is faster, what is stored."""

from __future__ import annotations

import asyncio
import contextvars
import io
from typing import TYPE_CHECKING, Any

import pytest
import transaction

from dobbin_like import Database, PersistentDict, PersistentFile, checkout
from dobbin_like.objects.values.here import current_scope
from tests.helpers.steps import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dobbin_like import PersistentStream


def make_root() -> PersistentDict[str, Any]:
    return PersistentDict({"n": 0})


def make_shop() -> PersistentDict[str, int]:
    """Be the root of the pages in ``doctests/web.rst``."""
    return PersistentDict({"hits": 0})


def manager_of_thread(_request: object) -> Any:
    """Be a ``tm.manager_hook`` of Pyramid."""
    return transaction.manager


def put(db: Database, name: str, value: object) -> None:
    checkout(db.root)
    db.root[name] = value


def count(db: Database) -> int:
    """Count up; return the new number."""
    put(db, "n", db.root["n"] + 1)
    number: int = db.root["n"]
    return number


def in_own_thread(function: Callable[[], Any]) -> Any:
    """Let another thread commit *function*, outside of every request."""

    def work() -> Any:
        with transaction.manager:
            return function()

    # Threads of a free-threaded Python inherit the context, and the request with it.
    return in_thread(lambda: contextvars.Context().run(work))


def stored(db: Database) -> dict[str, Any]:
    """Return what a process that opens the file sees."""
    manager = transaction.TransactionManager()
    with Database(db.storage.path, transaction_manager=manager, read_only=True) as other:
        return {key: value for key, value in other.root.items() if isinstance(value, int)}


class Rival:
    """Commits a change of ``n`` in the midst of the first *times* requests that ask it to."""

    def __init__(self, db: Database, times: int = 1) -> None:
        self.db = db
        self.times = times
        self.asked = 0

    def comes_between(self) -> None:
        self.asked += 1
        if self.asked <= self.times:
            in_own_thread(lambda: put(self.db, "n", self.db.root["n"] + 10))


@pytest.fixture
def db(path: Any) -> Iterator[Database]:
    with Database(path, sync=False) as database:
        with database.transaction():
            database.set_root(make_root())
        yield database


def with_stream(db: Database, data: bytes) -> PersistentStream:
    with db.transaction() as root:
        checkout(root)
        root["stream"] = PersistentFile(io.BytesIO(data))
    stream: PersistentStream = db.root["stream"]
    return stream


async def ask_asgi(
    app: Any, method: str = "POST", body: bytes = b"", pieces: int = 1, **scope: Any
) -> tuple[int, str]:
    """Ask an application as a server does; return the status and the answer."""
    size = -(-len(body) // pieces) or 1
    parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": part is not parts[-1]}
        for part in parts
    ]
    sent: list[Any] = scope.pop("sent", [])

    async def receive() -> Any:
        if not messages:
            await asyncio.sleep(60)  # The client stays.
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/page", "headers": [], **scope}
    await app(scope, receive, send)
    assert current_scope() is None
    status = [message["status"] for message in sent if "status" in message]
    content = b"".join(message.get("body", b"") for message in sent)
    assert len(status) <= 1
    return (status or [0])[0], content.decode()
