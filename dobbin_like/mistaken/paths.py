"""What is given as the path of a log and means something else: names, files of others.

Looked at when opening fails anyway, or would make a file that nobody expects.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Final

from dobbin_like.exc import NotALogError
from dobbin_like.mistaken.arguments import checked_path
from dobbin_like.processes.refusals import if_possible

_IMPORT: Final = "dobbin import --from {kind} {path} new.log makes a database of it"
_STARTS: Final = {
    b"FS21": "zodb",
    b"FS30": "zodb",
    b"DFS20\0": "durus",
    b"SHELF-1\n": "durus",
}
_BERKELEY: Final = b"\0\x06\x15\x61"
"""What a hash of Berkeley DB has at its beginning or as its fourth word, or the reverse."""

_SCHEMES: Final = ("memory:", "file:", "postgresql:", "postgres:")


def check_no_uri(where: Any) -> None:
    """Raise ValueError if the path *where* is a URI, empty, or others' name of one in memory."""
    path = checked_path("path", where)
    if path == ":memory:":
        text = (
            "':memory:' would be a file of this name; Database(MemoryLog()) and "
            "dobbin_like.open('memory:') are in memory"
        )
        raise ValueError(text)
    if path.startswith(_SCHEMES):
        scheme = path.partition(":")[0]
        text = (
            f"a URI ({scheme}:...) is given, expected a path; dobbin_like.open(uri) opens it, "
            f"'./{scheme}:...' is a file of this name"
        )
        raise ValueError(text)


def check_there(path: str, *, must_exist: bool) -> None:
    """Raise FileNotFoundError if there is no such directory, or no file though it *must_exist*."""
    expected = path if must_exist else os.path.dirname(path)
    if expected and not os.path.exists(expected):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), expected)


def shelf_kind(path: str) -> str:
    """Return by which module of ``dbm`` there is a shelf at *path*; empty: there is none.

    Its files may be named with a suffix: ``path.dat``, ``path.db``.
    """
    import dbm

    kind = dbm.whichdb(path)
    if not kind and _has_hash(path + ".db"):  # This Python may lack the module for it.
        kind = "dbm.ndbm"
    return kind or ""


def _has_hash(path: str) -> bool:
    start = b""
    with if_possible(), open(path, "rb") as file:
        start = file.read(16)
    return any(word in (_BERKELEY, _BERKELEY[::-1]) for word in (start[:4], start[12:]))


def import_kind(path: str, start: bytes) -> tuple[str, str]:
    """Return as which kind ``dobbin import`` takes the file at *path*, and its name there.

    The kind is empty if it does not know the file by *start*, its beginning.
    """
    for magic, kind in _STARTS.items():
        if start.startswith(magic):
            return kind, path
    # A file of a shelf may be given as it is named, or without the suffix that dbm takes off.
    for name in (path, path.rpartition(".")[0]):
        if name and shelf_kind(name):
            return "shelve", name
    return "", path


def what_it_is(path: str, start: bytes) -> tuple[str, str]:
    """Return what the file at *path* is, which begins with *start*, and what to do with it."""
    kind, name = import_kind(path, start)
    if kind == "shelve":
        return f"a shelf of {shelf_kind(name)}", shelf_hint(name)
    if kind:
        return f"a file of {kind}", _IMPORT.format(kind=kind, path=path)
    return f"it begins with {start[:16]!r}", NotALogError.hint


def shelf_hint(path: str) -> str:
    """Return what to do with a shelf."""
    into_database = _IMPORT.format(kind="shelve", path=path)
    return f"{into_database}, new_safe.update(shelve.open({path!r})) a safe"
