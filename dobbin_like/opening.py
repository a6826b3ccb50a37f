"""Open a database by its path or its URI, as a setting of a program names it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from dobbin_like.contract import Storage
from dobbin_like.database import Database
from dobbin_like.log import TransactionLog
from dobbin_like.mistaken.paths import check_there
from dobbin_like.texts import scheme_of, shown

__all__ = ["open", "open_storage"]

_GROUP: Final = "dobbin_like.storages"
_POSTGRES: Final = ("postgresql", "postgres")
_FLAGS: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)


def open(where: str | os.PathLike[str], **options: Any) -> Database:  # noqa: A001  as in shelve
    """Open the database at *where*: a path, or a URI with options in its query.

    ``file:shop.log?sync=no&lock_timeout=5`` is the log at that path, which is relative as any
    path is; ``file:///srv/shop.log`` is absolute. Characters may be quoted (``%3F``).
    ``memory:`` is a new database that ends with the process.
    ``postgresql://user@host/db?schema=shop`` is a log in PostgreSQL: see
    :class:`dobbin_like.storage.postgres.PostgresLog`, whose options may be there beside those of
    libpq. Another scheme is looked up among
    the entry points of the group ``dobbin_like.storages``: a function that takes the URI, without
    the options of databases, and returns a storage.

    Args:
        options: Keyword arguments of :class:`~dobbin_like.Database`; they go before those in
            the URI. There, flags are yes or no (1, true, on; 0, false, off), and ``allow`` may
            be given several times.

    Raises:
        ValueError: The URI has an unknown scheme, an unknown option or a wrong value.

    It also raises what ``Database`` does.
    """
    if not (isinstance(where, str) and (scheme := scheme_of(where))):
        return Database(where, **options)
    uri, given = _split(where, local=scheme in ("file", "memory"))
    options = given | options
    if scheme == "file":
        return Database(_path(uri), **options)
    if scheme in _POSTGRES:
        storage = _postgres(uri, options)
    else:
        storage = _memory(uri) if scheme == "memory" else _made_by_entry_point(scheme, uri)
    try:
        return Database(storage, **options)
    except BaseException:
        storage.close()
        raise


def open_storage(
    where: str, *, read_only: bool = False, must_exist: bool = True, sync: bool = True
) -> Storage:
    """Open the storage at a path or a URI, without a database."""
    scheme = scheme_of(where)
    if scheme == "file":
        where, scheme = path_of(where), ""
    if not scheme:
        check_there(where, must_exist=must_exist)
        return TransactionLog(where, read_only=read_only, sync=sync)
    uri, options = _split(where, local=scheme == "memory")
    options = {"read_only": read_only, "must_exist": must_exist} | options
    if scheme in _POSTGRES:
        return _postgres(uri, options)
    return _memory(uri) if scheme == "memory" else _made_by_entry_point(scheme, uri)


def path_of(uri: str) -> str:
    """Return the path in a ``file:`` URI. ValueError: It has none, or an unknown option."""
    return _path(_split(uri, local=True)[0])


def _split(uri: str, *, local: bool) -> tuple[str, dict[str, Any]]:
    """Return *uri* without the options of databases, and these."""
    rest, _, query = uri.partition("?")
    options: dict[str, Any] = {}
    others = []
    # The others are of a file.
    known = ("guard",) if uri.startswith("memory:") else tuple(_VALUES)
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "allow":
            options.setdefault(name, []).append(value)
        elif name in known:
            options[name] = _read(uri, name, value, *_VALUES[name])
        elif local:
            text = (
                f"{shown(uri)}: unknown option {name}, expected one of {', '.join(known)}, allow"
            )
            raise ValueError(text)
        else:
            others.append((name, value))
    return f"{rest}?{urlencode(others, quote_via=quote)}" if others else rest, options


def _read(uri: str, name: str, value: str, read: Callable[[str], object], expected: str) -> object:
    """Return the value of an option. ValueError: It is not as *expected* says."""
    try:
        return read(value)
    except (KeyError, ValueError):
        text = f"{shown(uri)}: {name}={value}, expected {expected}"
        raise ValueError(text) from None


def _flag(value: str) -> bool:
    return _FLAGS[value.lower()]


def _guard(value: str) -> bool | str:
    return value if value == "check" else _flag(value)


_VALUES: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "guard": (_guard, "yes, no or check"),
    "lock_timeout": (float, "seconds"),
    "must_exist": (_flag, "yes or no"),
    "pack_when": (float, "a share, as 0.5"),
    "read_only": (_flag, "yes or no"),
    "sync": (_flag, "yes or no"),
}


_POSTGRES_VALUES: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "schema": (str, "a name"),
    "patience": (float, "seconds"),
    "freshness": (float, "seconds"),
    "prepare": (_flag, "yes or no"),
    "cache": (str, "a path"),
}


def _path(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        text = (
            f"{shown(uri)}: a file of the host {parts.netloc}, expected file:///path or file:path"
        )
        raise ValueError(text)
    if not parts.path or parts.fragment:
        text = f"{shown(uri)}: expected file:///path or file:path, with ? and # in it quoted"
        raise ValueError(text)
    return unquote(parts.path)


def _postgres(uri: str, options: dict[str, Any]) -> Storage:
    """Return the log at a URI; take its options from *options*."""
    rest, _, query = uri.partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    own: dict[str, Any] = {}
    for name, (read, expected) in _POSTGRES_VALUES.items():
        if name in given:
            own[name] = _read(uri, name, given.pop(name), read, expected)
    for name in ("lock_timeout", "read_only"):
        if name in options:
            own[name] = options.pop(name)
    own["create"] = not options.pop("must_exist", False)
    dsn = f"{rest}?{urlencode(given, quote_via=quote)}" if given else rest
    # Late: what is wrong in the URI is told without the package that it needs, too.
    from dobbin_like.storage.postgres import PostgresLog

    return PostgresLog(dsn, **own)


def _memory(uri: str) -> Storage:
    from dobbin_like.storages.memory import MemoryLog

    if uri != "memory:":
        text = f"{shown(uri)}: expected memory:, each is one of its own and has no name"
        raise ValueError(text)
    return MemoryLog()


def _made_by_entry_point(scheme: str, uri: str) -> Storage:
    from importlib.metadata import entry_points

    found = entry_points(group=_GROUP)
    for point in found:
        if point.name == scheme:
            storage: Storage = point.load()(uri)
            return storage
    known = ", ".join(sorted({"file", "memory", "postgresql", *found.names}))
    where = shown(uri)
    text = f"{where}: unknown scheme {scheme}, expected one of {known}, or a path (./{where})"
    raise ValueError(text)
