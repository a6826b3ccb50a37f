"""Opening a safe, with the arguments of ``shelve.open``."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import Any

from dobbin_like.database import Database
from dobbin_like.exc import NotASafeError
from dobbin_like.safe.groups import Groups, Managers
from dobbin_like.safe.mapping import Safe, path_of
from dobbin_like.safe.stored import SafeDict
from dobbin_like.storage import TransactionLog


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
    """Open the safe in the file *filename*; can replace ``shelve.open``.

    Args:
        flag: ``"r"``: an existing safe, only for reading; ``"w"``: an existing safe; ``"c"``:
            created if necessary; ``"n"``: created if necessary, and all keys are removed.
        protocol: Ignored: the format has its own.
        writeback: Let ``sync()`` and ``close()`` store returned values that were changed. Not
            needed if you assign the values that you change.
        allow: Names of modules or classes that may be loaded, in addition to values of the
            standard library and enums, dataclasses and persistent classes of imported modules;
            see :class:`~dobbin_like.Database`.
        timeout: Seconds to wait for the changes of others; by default, without a limit.
        pack_when: Pack when at least this fraction of the file is no longer needed; None: only
            by ``pack()``.

    Raises:
        ValueError: The flag is not valid.
        FileNotFoundError: There is no file, and the flag is ``"r"`` or ``"w"``.
        NotASafeError: The file is a database that is not a safe.
        NotALogError, FormatVersionError, IntegrityError, OSError: As for a database. A file
            that is not a safe is never overwritten.
    """
    if flag not in ("r", "w", "c", "n"):
        text = f"flag={flag!r}: expected 'r', 'w', 'c' or 'n'"
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
    """Create the root if there is none; refuse one that is not that of a safe."""
    if database.root is None and not database.storage.read_only:
        with Groups(database, managers).outer():
            if database.root is None:  # No other process was faster.
                database.set_root(SafeDict())
    root = database.root
    if root is not None and not isinstance(root, SafeDict):
        raise NotASafeError(database.storage.path, type(root).__name__)
