"""Real servers whose workers write: nothing may be lost, and no request may fail.

::

    python -m benchmarks.servers --requests 10000
    python -m benchmarks.servers --only uwsgi

gunicorn and uWSGI serve ``benchmarks.web_app``, as a user would start them: they fork workers
before and after the database is open, with hooks of Python and without. Meanwhile the log is
packed, the server reloaded, and a worker killed. Each request brings an order of its own; those
that got no answer are sent again. In the end, each is there exactly once, and no server has told
of an exception. Ends with 1 if not. The tests run the same, small. What is not installed
(``pip install gunicorn pyuwsgi``) is left out.
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dobbin_like import Database, safe
from dobbin_like.check import check_log

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CLIENTS = 8
TIMEOUT_SECONDS = 60.0

# Longer than a server is waited for: a worker that hangs when it ends is not just killed.
_GUNICORN = (
    "gunicorn --bind fd://{fd} --workers 2 --threads 4 --graceful-timeout 120 "
    "--no-control-socket --log-level warning"
)
_UWSGI = "uwsgi --http-socket fd://{fd} --master --processes 2 --disable-logging --no-orphans"
# A worker of uWSGI that is told to end while it loads any application hangs, and is killed then.
_LAZY = " --lazy-apps --worker-reload-mercy 5"
_UWSGI_APP = " --wsgi-file benchmarks/web_app.py"
_GUNICORN_APP = " benchmarks.web_app:application"

SERVERS = {
    "gunicorn": _GUNICORN + _GUNICORN_APP,
    "gunicorn-preload": _GUNICORN + " --preload" + _GUNICORN_APP,
    "uwsgi": _UWSGI + _UWSGI_APP,
    "uwsgi-threads": _UWSGI + " --enable-threads --threads 4" + _UWSGI_APP,
    "uwsgi-lazy-apps": _UWSGI + " --enable-threads --threads 4" + _LAZY + _UWSGI_APP,
    "uwsgi-fork-hooks": _UWSGI + " --enable-threads --py-call-uwsgi-fork-hooks" + _UWSGI_APP,
}
"""How each is started. What stands in ``fd`` is bound already: no request comes too early."""

if sys.version_info < (3, 13):  # Later ones end where the hook of the child runs alone.
    SERVERS["uwsgi-osafterfork"] = _UWSGI + " --enable-threads --py-call-osafterfork" + _UWSGI_APP

# uWSGI ends by these: SIGTERM only makes it begin anew, without waiting for requests.
_ENDS = {"gunicorn": signal.SIGTERM, "uwsgi": signal.SIGINT}


def is_installed(name: str) -> bool:
    return (BIN / name.partition("-")[0]).exists()


class Server:
    """A running server; left, it has ended. *start* is what starts a process."""

    def __init__(self, name: str, directory: Path, start: Callable[..., Any]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._end = _ENDS[name.partition("-")[0]]
        fd = self._listener.fileno()
        program, *options = SERVERS[name].format(fd=fd).split()
        # uWSGI starts again by the Python below a virtual environment, which it does not know.
        search = f"{ROOT}{os.pathsep}{sysconfig.get_path('purelib')}"
        files = {"SHOP_DATABASE": directory / "shop.log", "SHOP_SAFE": directory / "visits.safe"}
        self._log = (directory / "server.out").open("wb")
        self.process = start(
            [str(BIN / program), *options],
            pass_fds=[fd],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": search, **{k: str(v) for k, v in files.items()}},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            self.process.send_signal(self._end)
            self.process.wait(TIMEOUT_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            self._log.close()
            self._listener.close()

    def ask(self, path: str) -> str:
        """Ask until there is an answer; return it. Raises AssertionError if it is an error."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("POST", path, headers={"Content-Length": "0"})
                response = connection.getresponse()
                answer = response.read().decode()
            except (OSError, http.client.HTTPException):
                # The worker was told to end, and did so before it has answered.
                if time.monotonic() > deadline:
                    raise
            else:
                assert response.status == 200, answer
                return answer
            finally:
                connection.close()


def serve(
    name: str, directory: Path, requests: int, start: Callable[..., Any] = subprocess.Popen
) -> dict[str, int]:
    """Send orders to a server, pack and reload it meanwhile; check what is there; return figures.

    Raises:
        AssertionError: A request has failed, or an order is lost or there twice.
    """
    with Server(name, directory, start) as server:

        def order(number: int) -> list[str]:
            if number == requests // 3:
                server.process.send_signal(signal.SIGHUP)
            if number % (requests // 10) == 5:
                server.ask("/pack")
            answer = server.ask(f"/order/{number}").split()
            if number == requests * 2 // 3:
                with suppress(ProcessLookupError):
                    os.kill(int(answer[1]), signal.SIGKILL)
            return answer

        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = list(clients.map(order, range(requests)))
    told = (directory / "server.out").read_text(encoding="utf-8", errors="replace")
    assert "Error" not in told, told
    _check(directory, requests)
    masters = {master for master, worker, _ in answers if master != worker}
    return {
        "requests": requests,
        "workers": len({worker for _, worker, _ in answers}),
        "masters": len(masters),  # That have opened the database before they forked.
        "retries": sum(int(tries) for *_, tries in answers) - requests,
    }


def _check(directory: Path, requests: int) -> None:
    expected = {str(number) for number in range(requests)}
    with Database(directory / "shop.log") as database:
        assert set(database.root["orders"]) == expected, "orders are missing"
        assert database.root["total"] == requests, f"{database.root['total']} were counted"
    with safe.open(directory / "visits.safe", "r") as visits:
        assert set(visits) == expected | {"total"}, "orders are missing in the safe"
        assert visits["total"] == requests, f"{visits['total']} were counted in the safe"
    for file in "shop.log", "visits.safe":
        check_log(directory / file).raise_if_bad()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1000, help="to each server")
    parser.add_argument("--only", default="", help="those whose names begin so")
    options = parser.parse_args()
    for name in SERVERS:
        if not name.startswith(options.only) or not is_installed(name):
            continue
        with tempfile.TemporaryDirectory() as directory:
            began = time.monotonic()
            figures = serve(name, Path(directory), options.requests)
            seconds = time.monotonic() - began
        told = ", ".join(f"{number} {what}" for what, number in figures.items())
        print(f"{name:18} {told}, {seconds:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
