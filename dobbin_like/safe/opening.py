"""Opening safes: by a path, as ``shelve.open`` does, or one for each module of a program."""

from __future__ import annotations

import errno
import logging
import os
import string
import sys
from collections.abc import Iterable
from functools import partial
from types import FrameType
from typing import Any, Final

from dobbin_like.database import Database
from dobbin_like.exc import NotALogError, NotASafeError, SafeDirectoryError
from dobbin_like.mistaken.arguments import (
    check_flags,
    check_lock_timeout,
    checked_names,
    checked_path,
)
from dobbin_like.mistaken.paths import check_no_uri, shelf_hint, shelf_kind
from dobbin_like.objects.values.here import out_of_block
from dobbin_like.processes.threaded_dict import ThreadedDict
from dobbin_like.safe.groups import Groups, Managers
from dobbin_like.safe.mapping import Safe
from dobbin_like.safe.stored import SafeDict
from dobbin_like.storage import TransactionLog

_logger = logging.getLogger(__name__)

_PLAIN: Final = frozenset(string.ascii_lowercase + string.digits + "._")
"""Characters that are not quoted in file names. Some file systems ignore case: no capitals."""

_directory: list[str] = []
_safes: dict[str, Safe] = ThreadedDict()
"""The open safes by path. Each operation is atomic, so there is no lock to be lost in a fork."""


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
        allow: Names of modules or classes that may be loaded, as for a database.
        timeout: Seconds to wait for the changes of others; by default, without a limit.
        pack_when: Pack when at least this fraction of the file is no longer needed; None: only
            by ``pack()``.

    Raises, beside what :class:`~dobbin_like.Database` raises:
        FileNotFoundError: There is no file, and the flag is ``"r"`` or ``"w"``.
        NotALogError: There is a shelf of this name, whose files have suffixes, and no safe.
        NotASafeError: The file is a database that is not a safe. It is not overwritten.
    """
    if flag not in ("r", "w", "c", "n"):
        text = f"flag={flag!r}: expected 'r', 'w', 'c' or 'n'"
        raise ValueError(text)
    path = _path_of("filename", filename)
    check_no_uri(filename)
    check_flags(writeback=writeback)
    check_lock_timeout(timeout=timeout)
    allow = checked_names(allow)
    if not os.path.exists(path):  # noqa: PTH110
        _check_missing(path, flag)
    managers = Managers()
    storage = TransactionLog(path, lock_timeout=timeout, read_only=flag == "r")
    database: Any = None
    try:
        database = _opened(storage, transaction_manager=managers, allow=allow)
        groups = Groups(database, managers)
        pack_when = None if storage.read_only else pack_when
        # Not "n": what others have stored since must not be removed.
        again = partial(
            open,
            flag="r" if flag == "r" else "c",
            writeback=writeback,
            allow=allow,
            timeout=timeout,
            pack_when=pack_when,
        )
        safe = Safe(
            database,
            groups,
            writeback=writeback,
            pack_when=pack_when,
            again=(again, path),
        )
        _check_root(database, groups)
        if flag == "n":
            safe.clear()
    except BaseException:
        (storage if database is None else database).close()
        raise
    return safe


def _check_missing(path: str, flag: str) -> None:
    """Refuse a path at which there is no file, where one has to be or is expected."""
    if flag != "n":
        kind = shelf_kind(path)
        if kind:  # An empty safe beside it would look as if all were lost.
            raise NotALogError(path, f"there is a shelf of {kind}", shelf_hint(path))
    if flag in "rw":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


@out_of_block
def _opened(storage: TransactionLog, **options: Any) -> Database:
    return Database(storage, **options)


@out_of_block
def _check_root(database: Database, groups: Groups) -> None:
    """Create the root if there is none; refuse one that is not that of a safe."""
    if database.root is None and not database.storage.read_only:
        with groups.outer():
            if database.root is None:  # No other process was faster.
                database.set_root(SafeDict())
    root = database.root
    if root is not None and not isinstance(root, SafeDict):
        raise NotASafeError(database.storage.path, type(root).__name__)


def set_directory(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None:
    """Set the directory for the safes of modules. It is created if necessary.

    The application calls this once, in every process; a forked child inherits the directory.
    Raises SafeDirectoryError if it was set to another directory before.
    """
    is_empty = isinstance(path, (str, bytes)) and not path  # As dirname() returns it.
    new = _path_of("path", "." if is_empty else path)
    if not _directory:
        os.makedirs(new, exist_ok=True)  # noqa: PTH103
        _directory.append(new)
    if _directory[0] != new:
        reason = f"it is set to {_directory[0]} already, and can't be set to {new}"
        raise SafeDirectoryError(reason)


def module_safe() -> Safe:
    """Return the safe of the calling module, which no other module gets.

    Returns the same one each time, until it is closed; then it is opened again. So it is when a
    change has raised LogMovedError, because the file was deleted or replaced: nobody else could
    do that. A deleted file begins anew, empty. If a module is
    moved or renamed, it gets another safe. A script gets that of ``__main__``; with
    ``python -m package.module``, that of the module. Raises SafeDirectoryError if
    :func:`set_directory` was not called.
    """
    if not _directory:
        reason = "call dobbin_like.safe.set_directory(path) first"
        raise SafeDirectoryError(reason)
    path = os.path.join(_directory[0], _file_name(_module(sys._getframe(1))))  # noqa: PTH118, SLF001
    while True:
        safe = _safes.get(path)
        if safe is not None and not (safe.closed or safe.moved):
            return safe
        if safe is not None and _safes.get(path) is safe:
            _safes.pop(path, None)
            if safe.moved:
                _logger.warning("%s: the file was deleted or replaced; it is opened again", path)
        os.makedirs(_directory[0], exist_ok=True)  # noqa: PTH103
        made = open(path)
        safe = _safes.setdefault(path, made)
        if safe is not made:  # Another thread was faster.
            made.close()


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    spec = frame.f_globals.get("__spec__")
    if name == "__main__" and spec is not None:
        name = spec.name
    if not isinstance(name, str):
        reason = "module_safe() was called by code that is in no module"
        raise SafeDirectoryError(reason)
    return name


def _file_name(module: str) -> str:
    quoted = (
        char if char in _PLAIN else "".join(f"%{byte:02x}" for byte in char.encode())
        for char in module
    )
    return f"{''.join(quoted)}.safe"


def _path_of(name: str, given: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """Return the absolute path, which stays valid when the working directory changes."""
    return os.path.abspath(checked_path(name, given))  # noqa: PTH100  of bytes, too
