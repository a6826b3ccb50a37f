"""``Care``: what looks after the log of a database over the years."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dobbin_like.life.backup import BackupReport, backup

if TYPE_CHECKING:
    from collections.abc import Callable

    from dobbin_like.storage import Storage


class Care:
    """The part of a database that looks after its log. Mixed into ``Database``."""

    if TYPE_CHECKING:
        storage: Storage

        def _check_open(self) -> None: ...

    def backup(
        self,
        path: str | os.PathLike[str],
        progress: Callable[[int, int], object] | None = None,
    ) -> BackupReport:
        """Let the file at *path* be a backup of this database, up to what is committed now.

        * Nothing is there, or an empty file: the log is copied.
        * A backup of this database: what is new is appended, after its end was verified.
        * A backup that was made before the database was packed: the log is copied beside
          it and then replaces it.
        * Anything else is refused.

        Every transaction is verified before it is copied. Others go on reading and
        committing. When it returns, all of it is on stable storage. Killed at any moment it
        leaves the backup as it was or as it shall be. To restore, copy the file back.

        Args:
            progress: Called with the bytes that are copied so far, and all there are.

        Raises:
            CopyError: The file is the log itself, a backup of another database, or has
                transactions that this one has not; another writes to it; nothing was
                committed yet; or the storage has no file.
            NotALogError, FormatVersionError: The file is something else.
            IntegrityError: The file, or the log, is damaged; the path in it tells which.
            OSError: The disk is full, or the like.
            In all cases the file is what it was.

        Cost: The bytes that are new, read twice and written once.
        """
        self._check_open()
        return backup(self.storage, os.fspath(path), progress)
