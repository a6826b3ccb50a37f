"""A safe for each module of a program, in a directory that the program sets once."""

from __future__ import annotations

import os
import string
import sys
from types import FrameType
from typing import Final

from dobbin_like.exc import SafeDirectoryError
from dobbin_like.safe.mapping import Safe, path_of
from dobbin_like.safe.opening import open as open_safe

_PLAIN: Final = frozenset(string.ascii_lowercase + string.digits + "._")
"""Characters that are not quoted in file names. Some file systems ignore case: no capitals."""

_directory: list[str] = []
_safes: dict[str, Safe] = {}
"""The open safes by path. Each operation is atomic, so there is no lock to be lost in a fork."""


def set_directory(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None:
    """Set the directory for the safes of modules. It is created if necessary.

    The application calls this once, in every process; a forked child inherits the directory.

    Raises:
        SafeDirectoryError: It was set to another directory before.
        OSError: It can't be created.
    """
    new = path_of(path)
    if not _directory:
        os.makedirs(new, exist_ok=True)  # noqa: PTH103
        _directory.append(new)
    if _directory[0] != new:
        reason = f"it is set to {_directory[0]} already, and can't be set to {new}"
        raise SafeDirectoryError(reason)


def module_safe() -> Safe:
    """Return the safe of the calling module, which no other module gets.

    Returns the same one each time, until it is closed; then it is opened again. If a module is
    moved or renamed, it gets another safe. A script gets that of ``__main__``; with
    ``python -m package.module``, that of the module.

    Raises:
        SafeDirectoryError: :func:`set_directory` was not called.
        As :func:`open`.
    """
    if not _directory:
        reason = "call dobbin_like.safe.set_directory(path) first"
        raise SafeDirectoryError(reason)
    path = os.path.join(_directory[0], _file_name(_module(sys._getframe(1))))  # noqa: PTH118, SLF001
    while True:
        safe = _safes.get(path)
        if safe is not None and not safe.closed:
            return safe
        if safe is not None and _safes.get(path) is safe:
            _safes.pop(path, None)
        made = open_safe(path)
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
