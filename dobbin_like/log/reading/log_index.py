"""What one instance has applied of a file: up to where, the positions of objects, the names.

Written by one thread at a time (its caller ensures that) and read by any: the parts are
replaced whole or set in place, never moved. A log that is packed goes on in another file;
the instance then uses a new Applied, and readers take all that they need from the same one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from dobbin_like.contract import NO_NAMES
from dobbin_like.exc import NotHeldError
from dobbin_like.ids import NO_TID, Tid
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.format.header import PAGE_SIZE, Page
from dobbin_like.log.format.record import LogPlace, first_place
from dobbin_like.log.reading.loader import Loader
from dobbin_like.log.reading.positions import Positions
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.log.reading.streams import StoredStreams
from dobbin_like.name_tables import NameTables
from dobbin_like.processes.interrupts import reentrant_lock


class Applied:
    """The applied part of one file of a log.

    ``tail`` is the place up to which everything is applied. ``seen`` are the words as they
    are as long as there is no news. ``limit`` is where the positions end:
    ahead of ``tail`` while a transaction is being applied. ``file``, ``loader`` and
    ``streams`` are set once, when the file is there. ``complete_since`` is the tid since
    which the file has every version. ``turn`` is held while transactions are applied, and
    while positions and names are needed as of one place.
    """

    def __init__(self, file: LogFile, page_checksum: int = 0) -> None:
        self.file = file
        self.loader: Loader | None = None
        self.streams: StoredStreams | None = None
        self.generation: int = 0
        self.complete_since: Tid = NO_TID
        self.positions: Positions = Positions()
        self.names: NameTables = NameTables()
        self.unsaved: int = 0  # Entries since positions were saved, or in damaged blocks.
        self.turn: threading.RLock = reentrant_lock()
        self._passed: tuple[int, LogPlace] | None = None
        self._looked = (b"", 0)  # The words when news were read, and where they end.
        self.tail: LogPlace = first_place(page_checksum)
        self.seen: bytes = b""
        self.limit: int = PAGE_SIZE

    def attach(self, page: Page) -> None:
        """Use the file, which is there by now."""
        self.move_to(first_place(page.checksum))
        self.generation = page.generation
        self.complete_since = Tid(page.complete_since)
        self.positions.reserve(page.next_oid)
        self.streams = StoredStreams(self.file.fd, self.file.path)
        self.loader = Loader(self.file.fd, self.file.path)

    def move_to(self, tail: LogPlace) -> None:
        """Let *tail* be the place; what is between has nothing to apply."""
        words, end = self._looked
        # No call between these: an interrupt comes before all of them or after. An interrupt in
        # the middle of a transaction has left positions that are ahead.
        if self.limit < tail.end:  # noqa: PLR1730  max() would be a call
            self.limit = tail.end
        self.tail = tail
        if tail.end >= end:
            self.seen = words

    def look(self, words: bytes, end: int) -> None:
        """Note: once all up to *end* is applied, there is no news until the words change."""
        self._looked = words, end
        if self.tail.end >= end:
            self.seen = words

    def pass_over(self, start: int, tail: LogPlace) -> None:
        """If the place is *start*, go on to *tail*: only saved positions are between."""
        if self.tail.end == start:
            self.move_to(tail)
        else:
            self._passed = start, tail

    def count_unsaved(self, entries: int) -> None:
        """Count entries that were read because saved positions are damaged."""
        self.unsaved += entries

    @property
    def is_at_place(self) -> bool:
        """Whether the positions are as of ``tail``: no transaction is applied in part."""
        return self.limit == self.tail.end

    def apply(self, path: str, news: Iterable[LoggedTransaction]) -> None:
        """Apply transactions that follow each other and the place. Failed ones count.

        Raises:
            NotHeldError: One is missing between. Those before it are applied.
            IntegrityError: Saved positions are damaged, and so is the log. As before.

        Cost: Their oids.
        """
        with self.turn:
            positions, sequence = self.positions, self.tail.sequence
            last: LoggedTransaction | None = None
            try:
                for logged in news:
                    sequence += 1
                    if logged.sequence != sequence:
                        found = f"transaction {sequence}, not {logged.sequence}"
                        raise NotHeldError(path, "apply()", found)
                    if not logged.failed:
                        self.limit = logged.end
                        if logged.names is not NO_NAMES:
                            self.names.update(*logged.names)
                        oids = logged.oids
                        if oids:
                            positions.update(oids, logged.first_entry)
                            self.unsaved += len(oids)
                    last = logged
            finally:
                # Last: a reader that sees the new tid must find the new positions.
                if last is not None:
                    tail = last.tail
                    if self._passed is not None and self._passed[0] == tail.end:
                        tail = self._passed[1]
                    self.move_to(tail)
