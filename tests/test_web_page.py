"""The lines of each framework in ``doctests/web.rst``, run as they stand there, imports too."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).resolve().parent.parent / "doctests" / "web.rst"


def lines_of(title: str, path: Path) -> str:
    """Return the first block of code below a title, for a database at *path*."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n{title}\n{'=' * len(title)}\n")[2]
    block = re.search(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", section)
    assert block is not None
    lines = dedent(block[1])
    assert '"shop.log"' in lines
    return lines.replace('"shop.log"', repr(str(path)))


@pytest.fixture
def run(path: Path) -> Callable[..., dict[str, Any]]:
    def run(title: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": __name__}
        exec(compile(lines_of(title, path), title, "exec"), names)
        return names

    return run


def test_flask(run):
    pytest.importorskip("flask")
    names = run("Flask")
    client = names["app"].test_client()

    assert [client.post("/hits").text for _ in range(2)] == ["1", "2"]
    assert client.get("/hits").text == "2"
    with names["app"].app_context():
        names["db"].database.close()


def test_fastapi(run):
    pytest.importorskip("fastapi")
    testclient = pytest.importorskip("fastapi.testclient", exc_type=Exception)
    names = run("FastAPI")
    with testclient.TestClient(names["app"]) as client:
        assert [client.post("/hits").json() for _ in range(2)] == [1, 2]
        assert client.get("/hits").json() == 2


def test_starlette(run):
    pytest.importorskip("starlette")
    testclient = pytest.importorskip("starlette.testclient", exc_type=Exception)
    names = run("Starlette")
    with testclient.TestClient(names["app"]) as client:
        assert [client.post("/hits").text for _ in range(2)] == ["1", "2"]
        assert client.get("/hits").text == "2"


def test_django(run):
    django = pytest.importorskip("django")
    from django.conf import settings

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="key", LOGGING_CONFIG=None)
        django.setup()
    from django.test import Client, override_settings
    from django.urls import path as url

    from dobbin_like.web.django import database

    names = run("Django")
    given = {name: value for name, value in names.items() if name.isupper()}

    class Urls:
        urlpatterns = (url("hits", names["hits"]),)

    with override_settings(ROOT_URLCONF=Urls, **given):
        client = Client()
        assert [client.post("/hits").content for _ in range(2)] == [b"1", b"2"]
        assert client.get("/hits").content == b"2"
        database().close()


def test_pyramid(run):
    pytest.importorskip("pyramid")
    webtest = pytest.importorskip("webtest")
    pytest.importorskip("pyramid_tm")
    pytest.importorskip("pyramid_retry")
    names = run("Pyramid")
    client = webtest.TestApp(names["app"])

    assert [client.post("/hits").text for _ in range(2)] == ["1", "2"]
    assert client.get("/hits").text == "2"
