"""What a URI names: a storage, and options of the database that is opened with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from dobbin_like.contract import Storage
from dobbin_like.texts import scheme_of, shown

__all__ = ["path_of", "split", "storage_at"]

_GROUP: Final = "dobbin_like.storages"
_POSTGRES: Final = ("postgresql", "postgres")
_FLAGS: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)


def path_of(uri: str) -> str:
    """Return the path in a ``file:`` URI. ValueError: It has none, or an unknown option."""
    return _path(split(uri)[0])


def split(uri: str) -> tuple[str, dict[str, Any]]:
    """Return *uri* without the options of databases, and these.

    Raises ValueError: An option is unknown to those who read this URI, or has a wrong value.
    """
    local = scheme_of(uri) in ("file", "memory")
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


def storage_at(uri: str, options: dict[str, Any]) -> Storage:
    """Open the storage at a URI that is not of a file; take its options from *options*.

    Raises ValueError: The URI has an unknown scheme, or a wrong value. And what the storage does.
    """
    scheme = scheme_of(uri)
    if scheme in _POSTGRES:
        return _postgres(uri, options)
    return _memory(uri) if scheme == "memory" else _made_by_entry_point(scheme, uri)


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
