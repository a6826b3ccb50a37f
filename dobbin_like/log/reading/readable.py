"""The reading half of a log: what is applied, what is new, one version of one object.

Promises that a transaction is seen whole or not at all, and that nobody is waited for
(I2, I3). Knows no lock. Read :mod:`dobbin_like.log.transaction_log` next.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self, cast

from dobbin_like.contract import Transaction
from dobbin_like.exc import ClosedError, IntegrityError, LogError, StreamMovedError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.format.header import COMMITTED, SAVED, Page, Words, boot_number, is_retired
from dobbin_like.log.reading.history import History
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.reader import LoggedTransaction, LoggedVersion, ReadBuffer
from dobbin_like.log.reading.saved_positions import load_saved
from dobbin_like.log.reading.streams import StreamReader, is_of, stream_offset
from dobbin_like.log.reading.trusted_end import certain_end, committed_frames
from dobbin_like.name_tables import NameTables

__all__ = ["ReadableLog"]

_logger = logging.getLogger(__name__)


class ReadableLog(History):
    """A log as its readers see it. Any thread; for news see read_news() and apply().

    ``_view`` is set when the file is there; None until then and after close().
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool) -> None:
        super().__init__()
        # What it means now, wherever the process goes to.
        self.path = os.path.abspath(os.fspath(path))  # noqa: PTH100  links stay links
        self.sort_key = "dobbin_like:" + os.path.realpath(self.path)
        self.closed = False
        self._boot = boot_number()
        self._attaching = threading.Lock()
        self._read_only = read_only
        self._view: memoryview[int] | None = None
        self._file = LogFile(self.path, read_only=read_only)
        self._applied = Applied(self._file)

    def __len__(self) -> int:
        """Return the number of transactions applied, successful and failed."""
        return self._applied.tail.sequence

    def __bool__(self) -> bool:
        """Return True: an empty log is a log."""
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self)} transactions"
        return f"<TransactionLog {self.path!r}, {state}>"

    def close(self) -> None:
        """Give the file back. Idempotent."""
        self.closed = True
        self._close_file()

    # -- what is applied -------------------------------------------------------

    @property
    def tid(self) -> Tid:
        """Of the newest applied transaction, successful or failed; 0: there is none."""
        return self._applied.tail.tid

    @property
    def oid_count(self) -> int:
        """Number of objects stored."""
        return self._applied.positions.stored

    @property
    def next_oid(self) -> Oid:
        """The first oid that was never used."""
        return Oid(self._applied.positions.next_oid)

    @property
    def names(self) -> NameTables:
        """The tables of names, as far as they are applied."""
        return self._applied.classes

    # -- news ------------------------------------------------------------------

    def has_news(self) -> bool:
        """Return whether others have committed what is not applied yet.

        Cost: One read of memory; while there is no file, one system call.
        """
        view = self._view
        if view is not None:
            try:
                return view[COMMITTED] != self._applied.seen
            except ValueError:  # Closed by another thread meanwhile.
                pass
        self._check_open()
        return self._file.looks_begun()

    def read_news(self) -> list[LoggedTransaction]:
        """Return the committed transactions that are not applied, oldest first.

        Applies nothing. Failed transactions are among them.

        Raises:
            IntegrityError: Committed bytes are damaged. What is applied stays valid.

        Cost: Objects changed, not their sizes.
        """
        self._check_open()
        if self._view is None and not self._file.attach():
            return []
        _, words = self._attach()
        applied = self._applied
        # Before it is read: nothing is appended afterwards.
        retired = is_retired(words.view[COMMITTED])
        start = end = applied.tail
        news: list[LoggedTransaction] = []
        for frame in committed_frames(
            ReadBuffer(self._file.fd, self.path), start, words, self._boot
        ):
            end = frame.tail
            if frame.logged is not None:
                news.append(frame.logged)
        place = news[-1].end if news else start.end
        if end.end != place:
            applied.pass_over(place, end)
        if not news and retired:
            return self._follow()
        return news

    def apply(self, news: Sequence[Transaction]) -> None:
        """Let *news* be applied: what read_news() or prepare() returned, in order.

        Raises:
            NotHeldError: One is missing between. Those before it are applied.

        Cost: The oids in them.
        """
        self._applied.apply(self.path, cast("Sequence[LoggedTransaction]", news))

    # -- reading ---------------------------------------------------------------

    def has(self, oid: Oid) -> bool:
        """Return whether there is an object with this oid, without reading it."""
        return bool(self._applied.positions.get(oid))

    def place_of(self, oid: Oid) -> int:
        """Return where in the file the newest version of an object is; 0: there is none.

        Many objects are read fastest in this order.
        """
        return self._applied.positions.get(oid)

    def load(self, oid: Oid, at: Tid | None = None) -> LoggedVersion | None:
        """Return the newest applied version of an object, or the newest up to *at*.

        Returns:
            None if there is no such object, or was none then.

        Raises:
            IntegrityError: The version, or one between it and the newest, is damaged.

        Cost: The versions newer than *at*.
        """
        applied = self._applied
        if at is not None and at < applied.complete_since:
            applied = self._applied_at(at)
        loader = applied.loader
        if loader is None:
            self._check_open()
            return None
        try:
            position = applied.positions.slots[oid] if oid >= 0 else 0
        except IndexError:
            return None
        if not position:
            return None
        stored = loader.load(oid, position, applied.limit)
        if at is not None:
            while stored.tid > at:
                if not stored.previous:
                    return None
                stored = loader.load(oid, stored.previous, applied.limit)
        return stored

    def stream_size(self, key: int) -> int:
        """Return the size of a stored stream in bytes. Raises as read_stream() does."""
        streams, offset = self._stream(key)
        return streams.size(offset)

    def read_stream(self, key: int, start: int, size: int) -> bytes:
        """Return up to *size* bytes of a stored stream; fewer at its end.

        Raises:
            IntegrityError: Bytes that the range touches are damaged.
            StreamMovedError: The log was packed; the object of the stream has another key.
        """
        streams, offset = self._stream(key)
        return streams.read(offset, start, size)

    def stream_is_moved(self, key: int) -> bool:
        """Return whether a stream has another key by now, or none: the log was packed."""
        return not is_of(key, self._applied.generation)

    # -- inside ----------------------------------------------------------------

    def _open(self) -> None:
        """Open the file if it is there, and apply what is in it."""
        if self._file.open():
            _, words = self._attach()
            buffer = ReadBuffer(self._file.fd, self.path)
            certain = certain_end(buffer, words, self._boot)
            size = os.fstat(self._file.fd).st_size
            if size < certain:
                raise IntegrityError(self.path, size, "the end of the file", f"{certain} bytes")
            self._load_saved(self._applied, words, certain)
            self.apply(self.read_news())

    def _attach(self) -> tuple[Page, Words]:
        """Use the file, which is there by now; return its header."""
        page, words = self._file.page, self._file.words
        if page is None or words is None:
            text = f"the log {self.path}"
            raise ClosedError(text)
        if self._view is None:
            with self._attaching:
                if self._applied.loader is None:
                    self._applied.attach(page)
                    self._view = words.view
        return page, words

    def _follow(self) -> list[LoggedTransaction]:
        """Go on in the file that has taken the place of this one, all of which is applied.

        Readers take the file that their snapshot needs; see :meth:`drop_generations`.

        Returns:
            What is new in it. Nothing, too, if it is not there yet.
        """
        file, old = LogFile(self.path, read_only=self._read_only), self._file.page
        with contextlib.suppress(OSError, LogError):
            file.open()
        page, words = file.page, file.words
        if page is None or words is None or old is None or page.store_id != old.store_id:
            return []
        if page.generation <= old.generation:  # the same: the switch did not come to its end
            return []
        applied = Applied(file)
        applied.attach(page)
        buffer = ReadBuffer(file.fd, self.path)
        # Saved positions that are ahead of what is applied here would hide what is new: the
        # log was packed twice since. Then all of it is read.
        seen = self._applied.tail.tid
        self._load_saved(applied, words, certain_end(buffer, words, self._boot), seen)
        end, news = applied.tail, []
        for frame in committed_frames(buffer, end, words, self._boot):
            end = frame.tail
            if frame.logged is None:
                continue
            if frame.logged.tid <= seen:
                applied.apply(self.path, [frame.logged])
            else:
                news.append(frame.logged)
        place = news[-1].end if news else applied.tail.end
        if end.end != place:
            applied.pass_over(place, end)
        self._switch_file(file, applied)
        _logger.info("%s: follows to the packed log, generation %d", self.path, page.generation)
        return news or self.read_news()  # It may have been packed again.

    def _switch_file(self, file: LogFile, applied: Applied) -> None:
        words = file.words
        assert words is not None
        # In this order: whoever finds the new one finds the old one among the past.
        self._past = (*self._past, self._applied)
        self._applied = applied
        self._file = file
        self._view = words.view

    @property
    def retired(self) -> bool:
        """Whether the log goes on in another file, to which read_news() follows."""
        view = self._view
        return view is not None and is_retired(view[COMMITTED])

    def _load_saved(
        self, applied: Applied, words: Words, certain: int, until: Tid | None = None
    ) -> None:
        offset, page = words.get(SAVED), applied.file.page
        if not offset or page is None:
            return
        # What is not certain to be there has to be read frame by frame.
        buffer = ReadBuffer(applied.file.fd, self.path)
        saved = load_saved(buffer, offset, page.checksum, certain)
        if saved is not None and (until is None or saved[2].tid <= until):
            applied.positions, applied.classes, tail = saved
            applied.positions.reserve(page.next_oid)
            applied.move_to(tail)

    def _close_file(self) -> None:
        self._view = None
        self._applied.loader = self._applied.streams = None
        self._past = ()
        with contextlib.suppress(BufferError):  # A reader is in the middle of a word.
            self._file.close()

    def _stream(self, key: int) -> tuple[StreamReader, int]:
        """Return who reads the stream, and its offset."""
        for applied in (self._applied, *self._past):
            if is_of(key, applied.generation) and applied.streams is not None:
                return applied.streams, stream_offset(key)
        self._check_open()
        raise StreamMovedError(self.path, key)

    def _check_open(self) -> None:
        if self.closed:
            text = f"the log {self.path}"
            raise ClosedError(text)
