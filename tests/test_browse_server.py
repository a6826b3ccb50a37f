"""``dobbin browse`` as a program: its address, news as they come, and its end."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dobbin_like import cli
from dobbin_like.database import Database
from dobbin_like.testing.steps import TIMEOUT_SECONDS
from tests.helpers import processes
from tests.helpers.processes import ROOT
from tests.helpers.transactions import change, fail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("uvicorn", reason="the extra browse is not installed")
pytest.importorskip("starlette", reason="the extra browse is not installed")


class Running:
    """The command, in a process of its own."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self.process = process
        self._connections = ExitStack()
        self.said = process.stdout.readline()  # type: ignore[union-attr]
        if self.said.startswith("{"):
            self.address = json.loads(self.said)["address"]
        else:
            self.address = process.stdout.readline().strip()  # type: ignore[union-attr]
        self.port, self.token = re.fullmatch(  # type: ignore[union-attr]
            r"http://127\.0\.0\.1:(\d+)/([\w-]{43})/", self.address
        ).groups()

    def ask(self, path: str, **headers: str) -> http.client.HTTPResponse:
        return self.get(f"/{self.token}{path}", **headers)

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.port), 20)
        self._connections.callback(connection.close)
        connection.request("GET", path, headers=headers)
        return self._connections.enter_context(connection.getresponse())

    def stop(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit code and what was told of trouble."""
        self.process.send_signal(signal.SIGINT)
        self._connections.close()
        _, err = self.process.communicate(timeout=TIMEOUT_SECONDS)
        return self.process.returncode, err


@contextmanager
def browsing(path: Path, *options: str, **environment: str) -> Iterator[Running]:
    command = [sys.executable, "-m", "dobbin_like", "browse", path, *options]
    env = {**os.environ, **environment}
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        env.pop(name, None)
    pipe = subprocess.PIPE
    with processes.start(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=env
    ) as process:
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.kill()


def events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any, str]]:
    """Yield name, data and id of each event."""
    name, data, number = "", None, ""
    while line := answer.readline().decode():
        field, _, value = line.strip().partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            data = json.loads(value)
        elif field == "id":
            number = value
        elif not field and name:
            yield name, data, number
            name, data, number = "", None, ""


@pytest.fixture
def log(path: Path) -> Path:
    with Database(path) as database:
        change(database, tea=3)
    return path


@pytest.mark.slow
def test_the_address_shows_the_log_until_ctrl_c(log: Path) -> None:
    with browsing(log, "--no-open") as running:
        assert running.said == f"{log} is shown at\n"
        answer = running.ask("/object/0")
        assert answer.status == 200
        assert "[&#x27;tea&#x27;]" in answer.read().decode()
        assert answer.headers["server"] is None
        stream = running.ask("/events")
        stream.readline()  # It is there, and does not keep the server from its end.
        started = time.monotonic()
        assert running.stop() == (0, "")
        assert time.monotonic() - started < 10


@pytest.mark.slow
def test_a_program_is_told_the_address_as_json(log: Path) -> None:
    with browsing(log, "--no-open", "--json") as running:
        assert json.loads(running.said) == {"path": str(log), "address": running.address}
        assert running.ask("/").status == 200
        assert running.stop() == (0, "")


@pytest.mark.slow
def test_commits_and_conflicts_come_as_they_are_made_and_none_is_missed(log: Path) -> None:
    with browsing(log, "--no-open") as running, Database(log) as database:
        seen = events(running.ask("/events?since=0"))
        first = next(seen)
        assert (first[0], first[1]["objects"], first[1]["classes"]) == (
            "transaction",
            1,
            {"PersistentDict": 1},
        )
        change(database, tea=4)
        second = next(seen)
        assert int(second[2]) == int(second[1]["tid"]) > int(first[2])
        fail(log, database, user="eve")
        change(database, tea=5)  # A failure is seen with the commit after it.
        failed = next(data for _, data, _ in seen if data["failed"])
        assert (failed["user"], failed["reason"][:24]) == ("eve", "conflict: PersistentDict")
        again = events(running.ask("/events", **{"Last-Event-ID": first[2]}))
        assert next(again) == second
        assert running.stop() == (0, "")


@pytest.mark.slow
def test_a_browser_that_goes_away_disturbs_nobody(log: Path) -> None:
    with Database(log) as database:
        for number in range(300):
            change(database, **{f"key {number}": "x" * 150})
    with browsing(log, "--no-open") as running:
        for path in ("/events?since=0", "/object/0", "/search?value=x", "/static/graph.js"):
            request = (
                f"GET /{running.token}{path} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n\r\n"
            )
            with socket.create_connection(("127.0.0.1", int(running.port))) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.sendall(request.encode())
                connection.recv(10)
        assert running.ask("/").status == 200
        code, err = running.stop()
        assert err == ""
        assert code == 0


@pytest.mark.slow
def test_a_browser_is_opened_with_an_address_that_works_once(log: Path, tmp_path: Path) -> None:
    told, browser = tmp_path / "told", tmp_path / "browser"
    os.mkfifo(told)  # Reading it waits for the browser.
    browser.write_text(f'#!/bin/sh\necho "$1" > {told}\n')
    browser.chmod(0o755)
    with browsing(log, BROWSER=str(browser)) as running:
        once = told.read_text().strip()
        assert once.startswith(f"http://127.0.0.1:{running.port}/")
        assert running.token not in once
        for status in (303, 404):
            path = once.removeprefix(f"http://127.0.0.1:{running.port}")
            assert running.get(path).status == status
        assert running.stop() == (0, "")


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str], log: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = cli.run(["browse", str(log), "--no-open", "--port", str(port)])

    assert code == 2
    assert capsys.readouterr().err == (
        f"dobbin: port {port} of 127.0.0.1: Address already in use; choose another by --port\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_an_extra_that_is_not_installed_is_named(log: Path, missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from dobbin_like.__main__ import main; "
    code += f"sys.exit(main(['browse', {str(log)!r}, '--no-open']))"
    ended = processes.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"dobbin: browse needs {missing}; pip install 'dobbin_like[browse]'\n"


def test_a_file_that_is_no_log_is_told(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    path.write_text("hello\n")

    assert cli.run(["browse", str(path), "--no-open"]) == 2
    assert capsys.readouterr().err.startswith(f"dobbin: {path}: not a dobbin_like log")


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["browse", "--help"]) == 0

    out = capsys.readouterr().out
    assert "Example: dobbin browse shop.log --port 8080 --no-open" in out
    assert "dobbin_like[browse]" in out
