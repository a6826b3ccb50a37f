"""A page that counts, under gunicorn, beside the same page on SQLite.

::

    python -m benchmarks.web --seconds 5

Two workers of four threads serve ``examples/counter.py`` to 16 clients that write as fast as they
are answered; and then the same page with ``sqlite3``, and one that counts by a plain number, so
that nearly every request has a conflict and is run again. No visit may be lost. Each is on stable
storage before it is answered.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = 16
TIMEOUT_SECONDS = 60.0

SERVERS = {
    "gunicorn": (
        "gunicorn --bind fd://{fd} --workers 2 --threads 4 --keep-alive 60 --no-control-socket "
        "--log-level warning --chdir {directory} {app}"
    ),
    "uwsgi": (
        "uwsgi --http-socket fd://{fd} --master --processes 2 --threads 4 --die-on-term "
        "--no-orphans --disable-logging --add-header Connection:close "
        "--chdir {directory} --module {app}"
    ),
    "uvicorn": "uvicorn --fd {fd} --workers 2 --log-level warning --app-dir {directory} {app}",
    "granian": (
        "granian --interface {interface} --host 127.0.0.1 --port {port} --workers 2 "
        "--workers-kill-timeout 10 --log-level warning --working-dir {directory} {app}"
    ),
}
"""The command of each server. A worker of granian that still loads its program drops the signal
that ends it, and its parent would wait for ever: hence the time after which it is killed."""

PAGES = [
    ("counter:app", "examples"),
    ("web_sqlite:app", "benchmarks"),
    ("web_number:wsgi", "benchmarks"),
]


def is_installed(server: str) -> bool:
    return (Path(sys.executable).parent / server).exists()


class Serving:
    """A server that is running; left, it has ended. *start* is what starts a process."""

    def __init__(
        self,
        server: str,
        app: str,
        directory: Path,
        start: Callable[..., Any] = subprocess.Popen,
        interface: str = "wsgi",
        **environment: str,
    ) -> None:
        # Bound already: no request comes too early.
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        fd = self._listener.fileno()
        if "{fd}" not in SERVERS[server]:
            self._listener.close()
        command = SERVERS[server].format(
            fd=fd, port=self.port, directory=directory, app=app, interface=interface
        )
        program, *options = command.split()
        self.process = start(
            [str(Path(sys.executable).parent / program), *options],
            pass_fds=[fd] if "{fd}" in SERVERS[server] else [],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )

    def __enter__(self) -> Serving:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                self.ask("GET", "/")
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.__exit__()
                    raise
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.process.terminate()
            self.process.wait(TIMEOUT_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._listener.close()

    def client(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30))

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, Any, bytes]:
        """Return the status, the headers and the body of an answer."""
        with self.client() as client:
            return asked(client, method, path, body, **headers)


def asked(
    client: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, Any, bytes]:
    client.request(method, path, body, headers)
    response = client.getresponse()
    return response.status, response.headers, response.read()


def visits(serving: Serving, until: Callable[[int], bool]) -> list[int]:
    """Let 16 clients visit the page; return the numbers that they were told.

    Raises:
        AssertionError: A request has failed.
    """

    def work(_client: int) -> list[int]:
        numbers: list[int] = []
        with serving.client() as client:
            while not until(len(numbers)):
                status, _, body = asked(client, "POST", "/")
                assert status == 200, body
                numbers.append(int(body))
        return numbers

    with ThreadPoolExecutor(CLIENTS) as clients:
        return [number for numbers in clients.map(work, range(CLIENTS)) for number in numbers]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each of them")
    seconds = parser.parse_args().seconds
    lost = 0
    for app, folder in PAGES:
        with tempfile.TemporaryDirectory() as directory:
            file = str(Path(directory, "counter"))
            with Serving("gunicorn", app, ROOT / folder, COUNTER=file) as serving:
                end = time.monotonic() + seconds
                began = time.monotonic()
                numbers = visits(serving, lambda _done, end=end: time.monotonic() > end)
                took = time.monotonic() - began
                stored = int(serving.ask("GET", "/")[2])
        lost += (missing := len(numbers) - stored)
        print(f"{app:15} {len(numbers) / took:5.0f} requests/s, {missing} lost", flush=True)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
