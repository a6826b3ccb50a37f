"""The programs of ``examples/``, under the servers that they are made for."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.web import Serving, is_installed, visits
from dobbin_like import Database
from dobbin_like.check import check_log
from tests.helpers.processes import python_path, start

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def serve(path: Path) -> Callable[..., Serving]:
    def serve(server: str, app: str, directory: Path = EXAMPLES, **options: Any) -> Serving:
        if not is_installed(server):
            pytest.skip(f"pip install {'pyuwsgi' if server == 'uwsgi' else server}")
        files = dict.fromkeys(("COUNTER", "GUESTBOOK", "JOBS"), str(path))
        return Serving(server, app, directory, start, **options, **files)

    return serve


def test_the_examples_are_short() -> None:
    lengths = {file.name: file.read_text("utf-8").count("\n") for file in EXAMPLES.glob("*.py")}

    assert len(lengths) == 3
    assert {name: length for name, length in lengths.items() if length >= 80} == {}


@pytest.mark.parametrize("server", ["gunicorn", "granian", "uwsgi"])
def test_no_visit_is_lost(serve, path, server):
    pytest.importorskip("flask")

    with serve(server, "counter:app") as serving:
        numbers = visits(serving, lambda done: done == 15)
        assert serving.ask("GET", "/")[2] == b"240"

    assert len(numbers) == 240
    check_log(path).raise_if_bad()


@pytest.mark.parametrize(
    ("server", "interface"),
    [("gunicorn", "wsgi"), ("granian", "wsgi"), ("uvicorn", "asgi"), ("granian", "asgi")],
)
def test_no_request_is_lost_for_a_conflict_and_none_is_done_twice(serve, path, server, interface):
    page = f"web_number:{interface}"

    with serve(server, page, EXAMPLES.parent / "benchmarks", interface=interface) as serving:
        numbers = visits(serving, lambda done: done == 10)
        assert serving.ask("GET", "/")[2] == b"160"

    assert sorted(numbers) == list(range(1, 161))
    check_log(path).raise_if_bad()


@pytest.mark.parametrize("server", ["uvicorn", "granian"])
def test_guests_leave_pictures(serve, path, server):
    pytest.importorskip("fastapi")
    pytest.importorskip("python_multipart")
    picture = b"\x89PNG" + bytes(range(256)) * 1000

    with serve(server, "guestbook:app", interface="asgi") as serving:
        form = {"name": b"<Ada>", "text": b"Hello", "picture": picture}
        for _ in range(3):
            assert sign(serving, form, "image/png") == 303
        assert sign(serving, form, "text/html") == 415
        assert sign(serving, {"name": b"Eve", "text": b"no picture"}, "") == 303

        page = serving.ask("GET", "/")[2].decode()
        assert page.count("&lt;Ada&gt;") == page.count("<img") == 3
        status, headers, body = serving.ask("GET", "/pictures/0")
        assert (status, headers["Content-Type"], body) == (200, "image/png", picture)
        status, _, body = serving.ask("GET", "/pictures/2", Range="bytes=4-9")
        assert (status, body) == (206, bytes(range(6)))
        etag = headers["ETag"]
        assert serving.ask("GET", "/pictures/0", **{"If-None-Match": etag})[0] == 304
        assert serving.ask("GET", "/pictures/3")[0] == 404

    check_log(path).raise_if_bad()


def sign(serving: Serving, form: dict[str, bytes], picture_type: str) -> int:
    body = b""
    for name, value in form.items():
        head = f'Content-Disposition: form-data; name="{name}"'
        if name == "picture":
            head += f'; filename="me.png"\r\nContent-Type: {picture_type}'
        body += f"--mark\r\n{head}\r\n\r\n".encode() + value + b"\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=mark"}
    return serving.ask("POST", "/", body + b"--mark--\r\n", **kind)[0]


@pytest.mark.parametrize("server", ["gunicorn", "uwsgi"])
def test_each_job_is_done(serve, path, server):
    texts = ["one", "one two", "one two three"] * 10

    with serve(server, "jobs:app") as serving:
        workers = [
            start([sys.executable, EXAMPLES / "jobs.py"], env=python_path(JOBS=str(path)))
            for _ in range(2)
        ]
        try:
            names = []
            for text in texts:
                status, _, name = serving.ask("POST", "/", text.encode())
                assert status == 201
                names.append(name.decode())
            answers = [await_answer(serving, name) for name in names]
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()

    assert answers == [len(text.split()) for text in texts]
    with Database(path) as database:
        assert len(database.root["jobs"]) == 0
        assert len(database.root["done"]) == len(texts)


def await_answer(serving: Serving, name: str) -> int:
    deadline = time.monotonic() + 60
    while True:
        status, _, body = serving.ask("GET", f"/{name}")
        if status == 200:
            return int(body)
        assert time.monotonic() < deadline
        time.sleep(0.05)
