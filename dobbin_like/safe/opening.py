"""Opening a safe, with the arguments of ``shelve.open``."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from dobbin_like.database import Database
from dobbin_like.exc import NotASafeError
from dobbin_like.safe.groups import Groups, Managers
from dobbin_like.safe.mapping import Safe, path_of
from dobbin_like.safe.stored import SafeDict
from dobbin_like.storage import TransactionLog

if TYPE_CHECKING:
    from collections.abc import Iterable


def open(  # noqa: A001  the name that it has in shelve and dbm
    filename: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    flag: str = "c",
    protocol: int | None = None,  # noqa: ARG001  as in shelve
    writeback: bool = False,
    *,
    allow: Iterable[str] = (),
    timeout: float | None = None,
    pack_when: float | None = 0.5,
) -> Safe:
    """Open the safe in the file *filename*; it can stand where ``shelve.open`` stood.

    Args:
        flag: ``"r"``: it is there, and only read; ``"w"``: it is there; ``"c"``: it is created
            if need be; ``"n"``: and all its keys are removed.
        protocol: Not used: the format has its own.
        writeback: Let values that were handed out be stored by ``sync()`` and ``close()`` if
            they were changed. Nobody needs it who assigns what he has changed.
        allow: Names of modules or classes that may be loaded, beside values of the standard
            library and enums, dataclasses and persistent classes of imported modules; see
            :class:`~dobbin_like.Database`.
        timeout: Seconds to wait for the changes of others; by default, as long as it takes.
        pack_when: Give back the room of what is not needed any more when it is at least this
            share of the file; None: only by ``pack()``.

    Raises:
        ValueError: There is no such flag.
        FileNotFoundError: There is no file, and the flag is ``"r"`` or ``"w"``.
        NotASafeError: It is a database of something else.
        NotALogError, FormatVersionError, IntegrityError, OSError: As for a database. A file
            that is something else is never overwritten.
    """
    if flag not in ("r", "w", "c", "n"):
        text = f"flag={flag!r}: one of 'r', 'w', 'c' and 'n' is expected"
        raise ValueError(text)
    path = path_of(filename)
    if flag in "rw" and not os.path.exists(path):  # noqa: PTH110
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    managers = Managers()
    storage = TransactionLog(path, lock_timeout=timeout, read_only=flag == "r")
    database: Any = None
    try:
        database = Database(storage, transaction_manager=managers, allow=allow)
        _check_root(database, managers)
        safe = Safe(
            database,
            managers,
            writeback=writeback,
            pack_when=None if storage.read_only else pack_when,
        )
        if flag == "n":
            safe.clear()
    except BaseException:
        (storage if database is None else database).close()
        raise
    return safe


def _check_root(database: Database, managers: Managers) -> None:
    """Let there be a root, and be it that of a safe."""
    if database.root is None and not database.storage.read_only:
        with Groups(database, managers).outer():
            if database.root is None:  # Nobody was faster.
                database.set_root(SafeDict())
    root = database.root
    if root is not None and not isinstance(root, SafeDict):
        raise NotASafeError(database.storage.path, type(root).__name__)
