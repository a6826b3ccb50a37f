"""Fixtures for all tests: a path, a storage, a database that is checked at the end."""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import transaction
from hypothesis import HealthCheck, settings

from dobbin_like.check import check_database
from dobbin_like.database import Database
from dobbin_like.objects.faces.stream import slow_files
from dobbin_like.objects.values.here import here
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog
from tests.helpers import processes
from tests.helpers.cutting_proxy import CuttingProxy
from tests.helpers.postgres_server import Server, new_schema
from tests.helpers.wardrobe import FACES, Wardrobe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_ours = {
    "deadline": None,  # No test relies on the clock.
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("default", max_examples=100, derandomize=True, database=None, **_ours)
settings.register_profile("quick", max_examples=15, derandomize=True, database=None, **_ours)
settings.register_profile("long", max_examples=2000, print_blob=True, **_ours)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

processes.bound_to_their_parent()


@pytest.fixture(scope="session", autouse=True)
def _programs_are_compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where no bytecode is written beside the source, let programs share some elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.dont_write_bytecode:
            patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
            patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Let tests and their programs hear SIGINT: a shell lets background jobs ignore it."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="module", autouse=True)
def _collections_pass_over_what_ran_before() -> Iterator[None]:
    """Let ``gc.collect()`` look at what this module makes: else each took longer than the last."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Let every process that a test has started end with it."""
    with processes.none_is_left():
        yield


def _clean_transactions() -> None:
    manager = transaction.manager.manager
    manager.explicit = False
    manager.abort()
    manager.clearSynchs()
    # A database that a test has left in a cycle no longer hears of the ends of transactions: new
    # objects of the next test would stay checked out under it, for the database of a third one.
    here.opened.clear()


@pytest.fixture(autouse=True)
def _no_transaction_is_left() -> Iterator[None]:
    """Let no test see a transaction, or a database that takes part, of another."""
    _clean_transactions()
    yield
    _clean_transactions()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a log may be made; nothing is there."""
    return tmp_path / "data.log"


@pytest.fixture
def storage(path: Path) -> Iterator[TransactionLog]:
    """An empty log that is not synced: tests end before the power goes."""
    with TransactionLog(path, sync=False) as storage:
        yield storage


@pytest.fixture
def database(storage: TransactionLog) -> Iterator[Database]:
    """An empty database; at the end, every invariant that can be checked is."""
    with Database(storage) as database:
        yield database
        if not database.closed:
            transaction.abort()
            check_database(database).raise_if_bad()


@pytest.fixture
def program_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that count: nothing is there that other tests have imported or left behind."""
    for module in ("asyncio", "pyramid.threadlocal"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(transaction.manager, "manager", transaction.TransactionManager())
    monkeypatch.setattr(here, "memo", here.own_memo)  # No task of this thread has had a scope.
    slow_files.clear()


@pytest.fixture
def again(path: Path) -> Iterator[Callable[..., Database]]:
    """Open the path once more, with transactions of its own: ``again().root``."""
    opened: list[Database] = []

    def open_again(**options: Any) -> Database:
        manager = options.pop("transaction_manager", None) or transaction.TransactionManager()
        opened.append(Database(path, transaction_manager=manager, **options))
        return opened[-1]

    yield open_again
    for database in opened:
        database.transaction_manager.abort()
        database.close()


@pytest.fixture(params=FACES)
def on_face(
    request: pytest.FixtureRequest, database: Database, again: Callable[..., Database]
) -> Wardrobe:
    return Wardrobe(request.param, database, again)


@pytest.fixture(params=["plain", "theirs", "older", "ghost"])
def read_only(
    request: pytest.FixtureRequest, database: Database, again: Callable[..., Database]
) -> Wardrobe:
    return Wardrobe(request.param, database, again)


@pytest.fixture(params=["open", "mine"])
def stored_after(
    request: pytest.FixtureRequest, database: Database, again: Callable[..., Database]
) -> Callable[..., Any]:
    """Check an object out, change it, and return it as somebody else reads it."""

    def change(obj: Any, function: Callable[[Any], object]) -> Any:
        if request.param == "mine":
            database.set_root(obj)
            transaction.commit()
        checkout(obj)
        function(obj)
        if request.param == "open":
            database.set_root(obj)
        transaction.commit()
        return again().root

    return change


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server for the tests of a module."""
    server = Server()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def schema() -> str:
    return new_schema()


@pytest.fixture
def proxy(server: Server) -> Iterator[CuttingProxy]:
    """A proxy before the server, which cuts the line where it is told to."""
    proxy = CuttingProxy(server.port)
    yield proxy
    proxy.close()
