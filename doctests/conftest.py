"""What the narratives start with: a path that does not exist, and a clean transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transaction

from tests.helpers.postgres_server import Server, missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def names(doctest_namespace: dict[str, Any], tmp_path: Path) -> Iterator[None]:
    doctest_namespace["path"] = tmp_path / "library.log"
    yield
    del doctest_namespace["path"]


@pytest.fixture(autouse=True)
def _uri(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> Iterator[None]:
    """Start the server of the page about PostgreSQL, if there can be one."""
    if request.node.path.name != "postgres.rst":
        yield
        return
    if reason := missing():
        pytest.skip(reason)
    server = Server()
    try:
        server.start()
        doctest_namespace["uri"] = server.uri("shop")
        yield
    finally:
        server.remove()
        doctest_namespace.pop("uri", None)


@pytest.fixture(autouse=True)
def _clean_transactions() -> Iterator[None]:
    _end_transactions()
    yield
    _end_transactions()


def _end_transactions() -> None:
    transaction.abort()
    transaction.manager.clearSynchs()
