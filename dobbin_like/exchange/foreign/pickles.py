"""Pickles of other libraries: no class of an application is loaded, stand-ins keep what it is.

The pickles may have been written by anybody: only value types of the standard library are made,
as they are in states of this package.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickle
import re
from array import array
from collections.abc import Callable
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from dobbin_like.exchange.foreign.mapping import Mapping
from dobbin_like.objects.codec.instances.makers import make_array, maker_of
from dobbin_like.objects.codec.policy import VALUE_TYPES
from dobbin_like.objects.codec.stand_in import StandIn
from dobbin_like.objects.codec.state_writer import ClassName, StateWriter


class UnreadableError(Exception):
    """A pickle that can't be decoded, and why."""


def modern(module: str, name: str) -> ClassName:
    """Return the name that most releases have for what another one has written."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    if module == "pathlib._local":  # where Python 3.13 alone keeps them
        return "pathlib", name
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


class ClassPickle(pickle.Unpickler):
    """Reads which class an object has: ``(module, qualname)``."""

    def find_class(self, module: str, name: str) -> Any:
        return modern(module, name)


def oid_in(pid: Any) -> int:
    """Return the oid in what ZODB and Durus write for a reference: it, or it and a class."""
    oid = pid[0] if type(pid) is tuple else pid
    if type(oid) is str:
        oid = oid.encode("latin1")
    if type(oid) is not bytes or len(oid) != 8:
        text = f"{pid!r:.60} as a reference"
        raise UnreadableError(text)
    return int.from_bytes(oid, "big")


class PickleReader:
    """Reads pickles for *writer*. *refer* gets what a pickle has for another object."""

    def __init__(self, writer: StateWriter, mapping: Mapping, refer: Callable[[Any], Any]) -> None:
        self._writer, self._mapping, self._refer = writer, mapping, refer
        self._makers: dict[ClassName, Any] = dict(_HELPERS)

    def read(self, file: io.BytesIO, index: int = 0) -> Any:
        """Return what the pickle with this index in *file* holds. UnreadableError: It is none.

        It may name what was in those before it.
        """
        unpickler = _Unpickler(self, file)
        try:
            for _ in range(index):
                unpickler.load()
            return unpickler.load()
        except UnreadableError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise UnreadableError(text) from error

    def named(self, module: str, name: str) -> Any:
        """Return what is to be called for a class or a function."""
        name_now = modern(module, name)
        found = self._makers.get(name_now)
        if found is None:
            module, name = name_now
            if name in VALUE_TYPES.get(module, "").split():
                found = maker_of(self._writer.class_named(name_now))
            else:
                found = self._writer.stand_in(self._mapping.of(name_now).name)
            self._makers[name_now] = found
        return found

    def referred(self, target: Any) -> Any:
        return self._refer(target)


class _Unpickler(pickle.Unpickler):
    def __init__(self, reader: PickleReader, file: io.BytesIO) -> None:
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._reader = reader

    def find_class(self, module: str, name: str) -> Any:
        return self._reader.named(module, name)

    def persistent_load(self, pid: Any) -> Any:
        return self._reader.referred(pid)


def _reconstruct(cls: Any, _base: Any, state: Any) -> Any:
    """Do what copyreg does for the protocols 0 and 1, with what stands for a class."""
    if not isinstance(cls, type):
        text = f"copyreg._reconstructor of {cls!r}"
        raise UnreadableError(text)
    is_filled = issubclass(cls, StandIn) and isinstance(state, (dict, list))
    cls = cast("Any", cls)
    if not is_filled:
        return cls.__new__(cls) if state is None else cls.__new__(cls, state)
    made: Any = cls.__new__(cls)
    if isinstance(state, list):
        made.extend(state)
    else:
        for key, value in state.items():
            made[key] = value
    return made


def _new(cls: Any, *args: Any) -> Any:
    return cls.__new__(cls, *args)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        text = f"bytes as a text in {encoding}"
        raise UnreadableError(text)
    return text.encode(encoding)


def _array(_cls: Any, *args: Any) -> Any:
    return make_array(array, *args)


def _zone(key: str, _from_cache: object = True) -> ZoneInfo:
    return ZoneInfo(key)


def _attribute(cls: Any, name: str) -> Any:
    """Do what time zones want; more of getattr would lead anywhere."""
    if getattr(cls, "_p_real", cls) is ZoneInfo and name == "_unpickle":
        return _zone
    text = f"it wants the attribute {name!r:.60} of something"
    raise UnreadableError(text)


_HELPERS: Final[dict[ClassName, Any]] = {
    ("copyreg", "_reconstructor"): _reconstruct,
    ("copyreg", "__newobj__"): _new,
    ("_codecs", "encode"): _encode,
    ("re", "_compile"): re.compile,
    ("array", "_array_reconstructor"): _array,
    ("zoneinfo", "ZoneInfo._unpickle"): _zone,
    ("builtins", "Ellipsis"): Ellipsis,
    ("builtins", "NotImplemented"): NotImplemented,
    ("builtins", "getattr"): _attribute,
}
