"""Who may read and write a file: a new file that takes its place gives the same rights.

If a file has an access control list, the group bits of its mode are the most that anybody but the
owner may have. As the rights of the group itself, they would be too many.
"""

from __future__ import annotations

import logging
import os
from struct import Struct
from typing import Final

from dobbin_like.log.file import disk
from dobbin_like.processes.refusals import if_possible

_LIST: Final = "system.posix_acl_access"
_VERSION_SIZE: Final = 4
_ENTRY: Final = Struct("<HHI")  # Kind, rights, user or group.
_GROUP: Final = 4
"""The kind of the entry for the group of the file."""

_logger = logging.getLogger(__name__)


def mode_of(file: str | int) -> int:
    """Return the permissions of a file, as those of one without a list. Raises OSError."""
    mode = os.stat(file).st_mode & 0o777
    for kind, rights, _ in _ENTRY.iter_unpack(_list_of(file)[_VERSION_SIZE:]):
        if kind == _GROUP:
            mode &= 0o707 | rights << 3
    return mode


def take_over(fd: int, path: str, old: str) -> None:
    """Give the new file *fd* at *path* the owner and the rights of the file at *old*.

    Where that is not possible, rights are dropped: nobody gets rights that they did not have.

    Raises:
        FileNotFoundError: There is none at *old*.
        OSError: As the system says.
    """
    status, rights = os.stat(old), _list_of(old)
    mode = status.st_mode & 0o777
    if not _is_given(fd, path, status) and mode & 0o070:
        mode, rights = mode & 0o707, b""
        _logger.warning(
            "%s: its group %d can't be kept, and has no rights to the new file; "
            "let a user in that group write it",
            path,
            status.st_gid,
        )
    if rights and not _is_listed(fd, rights):
        mode, rights = mode_of(old), b""
        _logger.warning("%s: its access control list can't be kept", path)
    if not rights:
        with if_possible():
            os.removexattr(fd, _LIST)  # That which the directory gives to new files.
        os.fchmod(fd, mode)


def _is_given(fd: int, path: str, status: os.stat_result) -> bool:
    """Give the file to an owner and a group, or to the group; return whether it has that."""
    for owner in (status.st_uid, -1):
        with if_possible():
            os.fchown(fd, owner, status.st_gid)
            return True
    return disk.status(fd, path).st_gid == status.st_gid


def _is_listed(fd: int, rights: bytes) -> bool:
    with if_possible():
        os.setxattr(fd, _LIST, rights)
        return True
    return False


def _list_of(file: str | int) -> bytes:
    """Return the access control list of a file; nothing if it has none."""
    with if_possible():  # Most file systems know none.
        return os.getxattr(file, _LIST)
    return b""
