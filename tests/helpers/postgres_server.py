"""A PostgreSQL server for tests: started in a directory of its own, killed, started again."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.helpers.processes import children_of, shared

USER = "postgres"  # The server refuses to run as root.
STANDBY = "standby"
WAIT_SECONDS = 30

serials = itertools.count(1)
"""Numbers for names that no other test uses."""


def as_user() -> list[str]:
    """Return what starts a program as a user that servers accept, and ends it with this one."""
    command = ["setpriv", "--pdeathsig=KILL"]
    if os.getuid() == 0:
        command += [f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
    return command


def programs() -> Path | None:
    """Return where ``initdb`` and ``pg_ctl`` are; None: there is no server to be had."""
    places = [Path(os.environ["PG_BIN"])] if "PG_BIN" in os.environ else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    places += [Path(found).resolve().parent] if found else []
    return next((place for place in places if (place / "initdb").exists()), None)


def missing() -> str:
    """Return why there is no server for a test; empty if there is one, or must be one."""
    if "DOBBIN_LIKE_NEEDS_POSTGRES" in os.environ:
        return ""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'dobbin_like[postgres]'"
    if programs() is None:
        return "there is no PostgreSQL server: apt-get install postgresql, or set PG_BIN"
    if not shutil.which("setpriv"):
        return "there is no setpriv (util-linux), which starts the PostgreSQL server"
    return ""


def new_schema() -> str:
    """Return the name of a schema that no other test uses."""
    return f"log{next(serials)}"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """One server, which ends with this process; ``remove()`` ends it before.

    With *primary*, it is a standby of that one, which knows it as STANDBY. *more* are further
    settings, as they stand in the file of them.
    """

    def __init__(self, primary: Server | None = None, **more: str | int) -> None:
        found = programs()
        assert found is not None
        self._bin = found
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="dobbin_like-pg-"))
        self._as = as_user()
        if os.getuid() == 0:
            shutil.chown(self.directory, USER, USER)
        self._data = self.directory / "data"
        settings: dict[str, str | int] = {"port": self.port}
        if primary is None:
            self._run(
                "initdb", "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"
            )
            settings |= {
                "listen_addresses": "'127.0.0.1'",
                "unix_socket_directories": "''",
                "shared_buffers": "32MB",
                "fsync": "off",  # A kill leaves what the kernel has.
            }
        else:
            source = f"{primary.dsn()} application_name={STANDBY}"
            self._run(
                "pg_basebackup", "-c", "fast", "-X", "stream", "-R", "--no-sync", "-d", source
            )
        settings |= more
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def give(self, name: str, text: str) -> Path:
        """Write a file that only the server can read, over one of its own; return its path."""
        path = self._data / name
        path.write_text(text)
        path.chmod(0o600)
        if os.getuid() == 0:
            shutil.chown(path, USER, USER)
        return path

    def _run(self, program: str, *args: str) -> None:
        with (self.directory / "server.log").open("ab") as log:
            subprocess.run(
                [*self._as, self._bin / program, "-D", self._data, *args],
                check=True,
                stdout=log,
                stderr=log,
                cwd="/",
                timeout=WAIT_SECONDS,
            )

    def dsn(self, port: int | None = None) -> str:
        return f"host=127.0.0.1 port={port or self.port} user={USER} dbname={USER}"

    def uri(self, schema: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{USER}?schema={schema}"

    def start(self) -> None:
        """Start it; return when it answers."""
        until = time.monotonic() + WAIT_SECONDS
        self._start()
        while not self._answers():
            assert time.monotonic() < until, (self.directory / "server.log").read_text()
            if self._process.poll() is not None:  # A part of the one that was killed is left.
                self._start()
            time.sleep(0.02)

    def _start(self) -> None:
        with (self.directory / "server.log").open("ab") as log:
            command = [*self._as, self._bin / "postgres", "-D", self._data]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        shared(self._process)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """Kill it as a crash of its machine would, all at once; return when it is gone.

        Without its first process, one that waits for a standby stops waiting, and others that
        live for a moment longer show what was committed by it, and is nowhere else.
        """
        self._process.send_signal(signal.SIGSTOP)  # It starts none any more.
        parts = children_of(self._process.pid)
        for how in (signal.SIGSTOP, signal.SIGKILL):
            for pid in parts:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, how)
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self._end(signal.SIGINT)
        self.start()

    def remove(self) -> None:
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: int) -> None:
        self._process.send_signal(how)
        self._process.wait(WAIT_SECONDS)
