"""Connections to the server: kept for the next use, made again when one is lost. Any thread.

Knows no statements on tables. What is lost while an answer is awaited may have been done all the
same: so :meth:`Lines.run` is for what may be done twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg import waiting
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dobbin_like.exc import ServerUnavailableError
from dobbin_like.processes.children import in_children

T = TypeVar("T")

_logger = logging.getLogger(__name__)

_DEFAULTS: Final[dict[str, str | int]] = {
    "application_name": "dobbin_like",
    "connect_timeout": 5,
    # A machine that is gone without a word is noticed after some 10 seconds.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_ALWAYS: Final = {"client_encoding": "UTF8"}
"""Whatever else is said: statements are sent in it, and names of settings read."""

# The statements are made for this isolation, and a standby has none that is higher. Where policies
# hide rows, an error is better than what is left. Planning takes a quarter of a commit, and finds
# the same plan each time. The server as well notices a machine that is gone without a word.
_SESSION: Final = (
    "set default_transaction_isolation = 'read committed'; set row_security = off; "
    "set plan_cache_mode = force_generic_plan; set tcp_keepalives_idle = 5; "
    "set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3"
)

_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 1.0

_PASSING: Final = ("25006", "40001", "40P01", "57P01", "57P02", "57P03", "53300")
"""States of errors that go away: a standby in place of the primary, a deadlock, a restart."""

_ONLY_READS: Final = (
    "; it is a standby, or default_transaction_read_only is on: to read from it, say read_only"
)

_UNREADABLE: Final = (
    "the address of the PostgreSQL server can't be read (in a URI, special characters of a "
    "password are %40 for @, %2F for /, %3A for :, %25 for %): "
)
_NAME: Final = re.compile(r'(\w+)"')

_SYNC: Final = "synchronous_commit"
_STANDBYS: Final = "synchronous_standby_names"
_SETTINGS: Final = ("fsync", "full_page_writes", _SYNC, _STANDBYS)
_ASK: Final = "select name, current_setting(name, true) from unnest(%s::text[]) n(name)"

_NO_STANDBY: Final = (
    f"{_STANDBYS} is empty on this server, and was not on the one before: what it acknowledges "
    "may be lost with it"
)

_open: weakref.WeakSet[Line] = weakref.WeakSet()
"""All connections of this process, for the children it forks."""

_of_parents: list[Line] = []
"""Those that this process has inherited. psycopg must not close them: it would tell the server."""


def _leave_all_to_parent() -> None:
    """Close the sockets that a forked child has inherited, without a word to the server.

    Else the server would not notice that the parent is gone, and keep what it has locked.
    """
    for line in list(_open):
        if line.process == os.getpid():
            continue  # Another thread of the child was faster.
        _of_parents.append(line)
        if not line.closed:
            with open(os.devnull, "rb") as nothing:  # noqa: PTH123
                os.dup2(nothing.fileno(), line.fileno(), inheritable=False)
        _open.discard(line)


in_children(_leave_all_to_parent)


class Line(psycopg.Connection[Any]):
    """A connection that is closed when the wait for an answer is cut short.

    psycopg would cancel the statement. A commit that waits for a standby would then be
    acknowledged though no standby has it. ``warned``: the server has said that of one.
    ``prepared`` has the names of statements that :mod:`.wire` has prepared; None: none may be.
    """

    answer_seconds: float | None = None
    warned: bool = False
    process = 0
    prepared: dict[bytes, bytes] | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return waiting.wait(
                gen, self.pgconn.socket, interval=interval, timeout=self.answer_seconds
            )
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001  there is no public name
            self.pgconn.finish()
            text = f"no answer within {self.answer_seconds} seconds"
            raise psycopg.OperationalError(text) from error
        except psycopg.Error:
            raise
        except BaseException:
            self.pgconn.finish()
            raise

    def __del__(self, *_: Any) -> None:
        """Without the warning of psycopg: an interrupt may have come before it was given back.

        libpq closes it, in the process that has made it.
        """

    def note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self.warned = True


def is_lost(error: psycopg.Error, line: Line | None) -> bool:
    """Return whether nobody knows what has become of the statement that *error* comes from."""
    return line is None or line.closed or error.diag.severity_nonlocalized in ("FATAL", "PANIC")


def _is_passing(error: psycopg.Error, line: Line | None) -> bool:
    return is_lost(error, line) or error.sqlstate in _PASSING


def take_any_time(line: Line) -> None:
    """Let statements on a connection take as long as they need, whatever the role may do else."""
    line.execute("set statement_timeout = 0", prepare=False)


class DurabilitySettings:
    """How durable commits are by the servers to which one instance has connected.

    After a failover it is another one, with settings of its own: often those from before there
    was a standby.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._told: set[str] = set()
        self._waited = False  # One of them has waited for standbys.

    def check(self, line: Line) -> None:
        """Log a warning, once, for each setting by which the server may lose what it acknowledges.

        Raises:
            psycopg.Error: The connection is lost.
        """
        names = list(_SETTINGS)
        values = dict(line.execute(_ASK, (names,), prepare=False).fetchall())
        for name in _SETTINGS:
            if values[name] == "off":
                self._warn(f"{name} is off: the server may lose what it has acknowledged")
        if values[_STANDBYS] and values[_SYNC] == "local":
            self._warn(f"{_SYNC} is local: no commit waits for a standby, which may lack some")
        if values[_STANDBYS]:
            self._waited = True
            self._told.discard(_NO_STANDBY)
        elif self._waited:
            self._warn(_NO_STANDBY)

    def _warn(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _logger.warning("%s: %s", self._path, text)


class Lines:
    """The connections of one instance.

    ``patience_seconds`` is how long it goes on trying while the server can't be reached. ``greet``
    is called with each new connection: it may be to another server than those before.

    Args:
        answer_seconds: How long to wait for one answer.
        prepare: Whether statements are prepared by the server; not behind a PgBouncer that
            pools transactions.
    """

    def __init__(self, dsn: str, schema: str, answer_seconds: float, *, prepare: bool) -> None:
        given = _parts_of(dsn)
        self._conninfo = make_conninfo(dsn, **(_DEFAULTS | given | _ALWAYS))
        places = {key: given.get(key) or "" for key in ("host", "port", "dbname")}
        self.path: str = "postgresql://{host}:{port}/{dbname}".format_map(places) + f"#{schema}"
        self.patience_seconds: float = 0.0  # Opening a log fails at once.
        self.greet: Callable[[Line], None] | None = None
        self._answer_seconds = answer_seconds
        self._threshold = 5 if prepare else None
        self._idle: list[Line] = []
        self._closed = False
        self._pid = os.getpid()

    def take(self) -> Line:
        """Return a connection that nobody uses, an idle or a new one."""
        self.after_fork_in_child()
        with contextlib.suppress(IndexError):
            # Another thread of a child may not have dropped those of the parent yet.
            while True:
                idle = self._idle.pop()
                if idle.process == os.getpid():
                    return idle
                _leave_all_to_parent()
        line: Line = Line.connect(
            self._conninfo, autocommit=True, prepare_threshold=self._threshold
        )
        line.process = self._pid
        _open.add(line)
        line.answer_seconds = self._answer_seconds
        line.add_notice_handler(line.note)
        if self._threshold is not None:
            line.prepared = {}
            with contextlib.suppress(psycopg.errors.UndefinedObject):  # It is another engine.
                line.execute(_SESSION)
        if self.greet is not None:
            self.greet(line)
        return line

    def give(self, line: Line) -> None:
        """Give a connection back, which is in no transaction."""
        if not line.closed and line.process == os.getpid():
            self._idle.append(line)
        if self._closed:
            self._drop_idle()

    def run(self, work: Callable[[Line], T], patience_seconds: float | None = None) -> T:
        """Return what *work* does with a connection; again with another one if that is lost.

        Raises:
            ServerUnavailableError: For all that time there was none. Or the server refuses.
        """
        line, result = self.begin(work, patience_seconds)
        self.give(line)
        return result

    def begin(
        self, work: Callable[[Line], T], patience_seconds: float | None = None
    ) -> tuple[Line, T]:
        """Do what run() does, and return the connection as well, not given back."""
        patience = self.patience_seconds if patience_seconds is None else patience_seconds
        until, pause = time.monotonic() + patience, 0.0
        while True:
            line = None
            try:
                line = self.take()
                return line, work(line)
            except psycopg.Error as error:
                passing = _is_passing(error, line)
                discard(line)
                self._drop_idle()
                if not passing or time.monotonic() + pause > until:
                    raise ServerUnavailableError(self.path, reason_of(error)) from error
            except BaseException:
                discard(line)
                raise
            # Not all at the same moment, and the first time at once: it may only be old.
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it is given back."""
        self._closed = True
        self._drop_idle()

    def _drop_idle(self) -> None:
        """Close the idle ones: they have gone the way of the one that was lost."""
        while self._idle:
            discard(self._idle.pop())

    def after_fork_in_child(self) -> None:
        """Leave the connections to the parent, if there is one. May be called at any time."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._idle = []
            if any(line.process != self._pid for line in list(_open)):
                _leave_all_to_parent()  # No hook has seen the fork.


def _parts_of(dsn: str) -> dict[str, Any]:
    """Return what *dsn* says, by the names that libpq has for it.

    Raises:
        ValueError: It can't be read. What may be a part of a password is not told.
    """
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        what, _, rest = str(error).replace('"="', "=").partition('"')
        name = (
            _NAME.match(rest) if what.startswith(("invalid URI query", "invalid conn")) else None
        )
        raise ValueError(_UNREADABLE + (what + name[1] if name else what.strip(" \n:"))) from None
    hosts, ports = (str(given.get(name, "")).split(",") for name in ("host", "port"))
    if any("@" in host[1:] for host in hosts) or any(re.search("[^0-9]", port) for port in ports):
        text = f"{_UNREADABLE}a port is no number, or there is an @ in a host"
        raise ValueError(text)
    return given


def discard(line: Line | None) -> None:
    """Close a connection. The server takes back what was not committed."""
    if line is not None and line.process == os.getpid():
        line.close()


def reason_of(error: BaseException) -> str:
    """Return the text of an error on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text + _ONLY_READS if isinstance(error, psycopg.errors.ReadOnlySqlTransaction) else text
