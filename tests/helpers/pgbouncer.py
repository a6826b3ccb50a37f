"""A PgBouncer that pools transactions, before a PostgreSQL server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.helpers.postgres_server import USER, WAIT_SECONDS, as_user, free_port
from tests.helpers.processes import shared

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

SETTINGS = """\
[databases]
* = host=127.0.0.1 port={to} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
server_round_robin = 1
server_login_retry = 1
"""


def missing() -> str:
    """Return why there is no PgBouncer for a test; empty if there is one."""
    return "" if PROGRAM else "there is no PgBouncer: apt-get install pgbouncer"


class PgBouncer:
    """One before the server at *to*; it ends with this process, ``remove()`` ends it before.

    Its clients share *size* connections to the server, in turn: what one statement leaves in a
    session, the next one does not find there.
    """

    def __init__(self, to: int, size: int) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="dobbin_like-pgbouncer-"))
        text = SETTINGS.format(to=to, user=USER, port=self.port, size=size)
        (self._directory / "settings").write_text(text)
        if os.getuid() == 0:
            shutil.chown(self._directory, USER, USER)

    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={USER} dbname={USER}"

    def uri(self, schema: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{USER}?schema={schema}&prepare=no"

    def start(self) -> None:
        """Start it; return when it answers."""
        with (self._directory / "log").open("ab") as log:
            command = [*as_user(), str(PROGRAM), str(self._directory / "settings")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        shared(self._process)
        until = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                assert time.monotonic() < until, (self._directory / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """Kill it; return when it is gone."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(WAIT_SECONDS)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
