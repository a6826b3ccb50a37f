"""From what can be read of a damaged log to transactions of a new one.

Oids, tids, users and descriptions stay. Streams are copied when the first object leads to
them, and their objects are written anew, for they name an offset. Numbers of classes
stay; one whose name is lost gets a name that says so, and can be renamed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from dobbin_like.check.states import STREAM_CLASS, StateReader
from dobbin_like.ids import Oid
from dobbin_like.life.moved import stream_key_of, with_stream_key
from dobbin_like.log.reader import Logged, Stored
from dobbin_like.log.record import Meta
from dobbin_like.log.stream import stream_place
from dobbin_like.repair.frames import StreamAt
from dobbin_like.repair.new_log import NewLog
from dobbin_like.repair.parts import Kept, stream_parts
from dobbin_like.repair.report import RepairReport
from dobbin_like.repair.source import Source

__all__ = ["LOST_MODULE", "Salvage"]

LOST_MODULE: Final = "lost"
"""Module of the names that stand for classes whose names are lost."""

LOST_STREAM: Final = 0
"""Offset of a stream that is lost: reading it is an IntegrityError."""


class Salvage:
    """Writes what was kept of one log to another. One thread.

    Args:
        names: Of classes by number, wherever they were found.
        complete: Nothing was lost: every class that is used was logged before.
    """

    def __init__(
        self,
        source: Source,
        log: NewLog,
        report: RepairReport,
        names: dict[int, tuple[str, str]],
        *,
        complete: bool,
    ) -> None:
        self._source = source
        self._log = log
        self._report = report
        self._names = names
        self._complete = complete
        self._streams: dict[int, StreamAt] = {}
        self._copied: dict[int, int] = {}
        self._known = _KnownOrNot(log, names)
        self._states = StateReader(self._known)

    def add(self, part: Kept | StreamAt) -> None:
        """Write a transaction, or remember where a stream is."""
        if isinstance(part, StreamAt):
            self._streams[part.offset] = part
            return
        logged = part.logged
        report = self._report
        report.transactions += 1
        if logged.failed:
            report.failed += 1
            entries = [(Oid(oid), 0, b"") for oid in logged.oids]
            self._log.add(logged.tid, entries, _meta(logged, ()), failed=True)
            return
        # Before its state is looked at: that may be of a class that is new here.
        self._known.new = {number: (module, name) for number, module, name in logged.classes}
        entries = [self._entry(oid, stored) for oid, stored in part.entries]
        classes = self._known.take()
        self._log.add(logged.tid, entries, _meta(logged, classes), failed=False)
        report.versions += len(entries)

    @property
    def made_up(self) -> list[str]:
        """The names that were given to classes whose names are lost."""
        return self._known.lost

    def _entry(self, oid: Oid, stored: Stored) -> tuple[Oid, int, bytes]:
        number, data = stored.class_number, stored.data
        if self._known.name(number) == STREAM_CLASS:
            data = self._moved(data)
        elif not self._complete:
            self._look_for_classes(data)
        return oid, number, data

    def _look_for_classes(self, data: bytes) -> None:
        """Let every class that a state names be known."""
        try:
            _, references = self._states.read(data)
        except Exception:  # noqa: BLE001  it is what was written; the check names it
            return
        for reference in references:
            self._known.name(reference.class_number)

    def _moved(self, data: bytes) -> bytes:
        """Return the state of a stream object with the offset of its stream in the new log."""
        key = stream_key_of(data, None)
        if key is None:
            return data  # It is what was written; the check names it.
        offset = stream_place(key)[1]
        if offset not in self._copied:
            at = self._streams.get(offset)
            self._copied[offset] = LOST_STREAM if at is None else self._copy(at)
        return with_stream_key(data, None, self._copied[offset])

    def _copy(self, at: StreamAt) -> int:
        parts: Any = _Parts(stream_parts(self._source, at.offset, at.end))
        self._report.streams += 1
        return self._log.add_stream(parts)


class _KnownOrNot:
    """The class table of the new log, in which every number has a name when it is asked for.

    ``new`` are the names that the next transaction brings, ``lost`` those that were made up.
    """

    def __init__(self, log: NewLog, names: dict[int, tuple[str, str]]) -> None:
        self.new: dict[int, tuple[str, str]] = {}
        self.lost: list[str] = []
        self._log = log
        self._names = names

    def name(self, number: int) -> tuple[str, str]:
        known = self.new.get(number) or self._log.classes.name(number)
        if known is None and number:
            known = self._names.get(number)
            if known is None:
                known = LOST_MODULE, f"Class{number}"
                self.lost.append(".".join(known))
            self.new[number] = known
        return known or ("", "")

    def number(self, module: str, qualname: str) -> int | None:
        return self._log.classes.number(module, qualname)

    def take(self) -> tuple[tuple[int, str, str], ...]:
        taken, self.new = self.new, {}
        return tuple([(number, *name) for number, name in sorted(taken.items())])


class _Parts:
    """What a stream yields, to be read as from a file."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def read(self, _size: int) -> bytes:
        return next(self._parts, b"")


def _meta(logged: Logged, classes: tuple[tuple[int, str, str], ...]) -> Meta:
    return Meta(classes, logged.user, logged.description, logged.extension, logged.reason)
