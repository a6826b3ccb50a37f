"""The reading half of a log: what is applied, what is new, one version of one object.

Promises that a transaction is seen whole or not at all, and that nobody is waited for
(I2, I3). Knows no lock. Read :mod:`dobbin_like.log.reading.history` next.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Sequence

from dobbin_like.contract import Transaction
from dobbin_like.exc import ClosedError, IntegrityError, LogError, StreamMovedError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import Words, boot_number
from dobbin_like.log.format.header import COMMITTED, SAVED, Page, is_retired
from dobbin_like.log.reading.generations import Generations
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.reader import LoggedTransaction, LoggedVersion, ReadBuffer
from dobbin_like.log.reading.saved_positions import load_saved
from dobbin_like.log.reading.streams import StreamReader, is_of, stream_offset
from dobbin_like.log.reading.trusted_end import certain_end, committed_frames

__all__ = ["ReadableLog"]

_logger = logging.getLogger(__name__)


class ReadableLog:
    """A log as its readers see it. Any thread; see the contract for news.

    ``generations`` are its files, ``file`` is the one it goes on in, ``applied`` what is
    applied of it. ``view`` has its words when it is there; None until then and after close().
    ``follow_to`` is called with what is applied of the file of a packed log; whoever writes
    puts a function of its own there, which calls switch_to().
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool) -> None:
        # What it means now, wherever the process goes to.
        self.path = os.path.abspath(os.fspath(path))  # noqa: PTH100  links stay links
        self.sort_key = "dobbin_like:" + os.path.realpath(self.path)
        self.read_only = read_only
        self.closed = False
        self.boot = boot_number()
        self.view: memoryview[int] | None = None
        self.file = LogFile(self.path, read_only=read_only)
        self.applied = Applied(self.file)
        self.generations = Generations(self.path, self.applied)
        self.follow_to: Callable[[Applied], None] = self.switch_to
        self._attaching = threading.Lock()

    @property
    def buffer(self) -> ReadBuffer:
        """A new buffer over the file that the log goes on in."""
        return ReadBuffer(self.file.fd, self.path)

    def check_open(self) -> None:
        """Raise ClosedError after close()."""
        if self.closed:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        text = f"the log {self.path}"
        return ClosedError(text)

    def close(self) -> None:
        """Give the file back. Idempotent."""
        self.closed = True
        self.close_file()

    def close_file(self) -> None:
        """Read nothing more; what is in the midst of it may go on to its end."""
        self.view = None
        self.generations.close()
        with contextlib.suppress(BufferError):  # A reader is in the middle of a word.
            self.file.close()

    # -- news ------------------------------------------------------------------

    def has_news(self) -> bool:
        """Return whether others have committed what is not applied yet.

        Cost: One read of memory; while there is no file, one system call.
        """
        view = self.view
        if view is not None:
            try:
                return view[COMMITTED] != self.applied.seen
            except ValueError:  # Closed by another thread meanwhile.
                pass
        self.check_open()
        return self.file.looks_begun()

    def read_news(self) -> list[LoggedTransaction]:
        """Return the committed transactions that are not applied, oldest first.

        Raises:
            IntegrityError: Committed bytes are damaged. What is applied stays valid.

        Cost: Objects changed, not their sizes.
        """
        self.check_open()
        if self.view is None and not self.file.attach():
            return []
        _, words = self.attach()
        applied = self.applied
        # Before it is read: nothing is appended afterwards.
        retired = is_retired(words.view[COMMITTED])
        start = end = applied.tail
        news: list[LoggedTransaction] = []
        for frame in committed_frames(self.buffer, start, words, self.boot):
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
        """Apply transactions; see the contract. Cost: The oids in them."""
        self.applied.apply(self.path, news)  # type: ignore[arg-type]  # It has made them.

    # -- reading ---------------------------------------------------------------

    def load(self, oid: Oid, at: Tid | None = None) -> LoggedVersion | None:
        """Return the newest applied version of an object, or the newest up to *at*.

        Raises:
            IntegrityError: The version, or one between it and the newest, is damaged.

        Cost: The versions newer than *at*.
        """
        applied = self.applied
        if at is not None and at < applied.complete_since:
            applied = self.generations.at(at)
        loader = applied.loader
        if loader is None:
            self.check_open()
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

    def stream(self, key: int) -> tuple[StreamReader, int]:
        """Return who reads a stream, and its offset.

        Raises:
            StreamMovedError: The log was packed; the object of the stream has another key.
        """
        generations = self.generations
        for applied in (generations.present, *generations.past):
            if is_of(key, applied.generation) and applied.streams is not None:
                return applied.streams, stream_offset(key)
        self.check_open()
        raise StreamMovedError(self.path, key)

    # -- the file --------------------------------------------------------------

    def open(self) -> None:
        """Open the file if it is there, and apply what is in it."""
        if self.file.open():
            _, words = self.attach()
            certain = certain_end(self.buffer, words, self.boot)
            size = os.fstat(self.file.fd).st_size
            if size < certain:
                raise IntegrityError(self.path, size, "the end of the file", f"{certain} bytes")
            self.load_saved(self.applied, words, certain)
            self.apply(self.read_news())

    def attach(self) -> tuple[Page, Words]:
        """Use the file, which is there by now; return its header."""
        page, words = self.file.page, self.file.words
        if page is None or words is None:
            raise self._closed_error()
        if self.view is None:
            with self._attaching:
                if self.applied.loader is None:
                    self.applied.attach(page)
                    self.view = words.view
        return page, words

    @property
    def retired(self) -> bool:
        """Whether the log goes on in another file, to which read_news() follows."""
        view = self.view
        return view is not None and is_retired(view[COMMITTED])

    def _follow(self) -> list[LoggedTransaction]:
        """Go on in the file that has taken the place of this one, all of which is applied.

        Readers take the file that their snapshot needs; see :class:`.Generations`.

        Returns:
            What is new in it. Nothing, too, if it is not there yet.
        """
        file, old = LogFile(self.path, read_only=self.read_only), self.file.page
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
        seen = self.applied.tail.tid
        self.load_saved(applied, words, certain_end(buffer, words, self.boot), seen)
        end, news = applied.tail, []
        for frame in committed_frames(buffer, end, words, self.boot):
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
        self.follow_to(applied)
        _logger.info("%s: follows to the packed log, generation %d", self.path, page.generation)
        return news or self.read_news()  # It may have been packed again.

    def switch_to(self, applied: Applied) -> None:
        """Read another file from now on."""
        words = applied.file.words
        assert words is not None
        self.generations.switch_to(applied)
        self.applied, self.file = applied, applied.file
        self.view = words.view

    def load_saved(
        self, applied: Applied, words: Words, certain: int, until: Tid | None = None
    ) -> None:
        """Take the saved positions of a file for applied, unless they are ahead of *until*.

        Args:
            certain: Offset before which all is certain to be there; what is not has to be
                read frame by frame.
        """
        offset, page = words.get(SAVED), applied.file.page
        if not offset or page is None:
            return
        saved = load_saved(ReadBuffer(applied.file.fd, self.path), offset, page.checksum, certain)
        if saved is not None and (until is None or saved[2].tid <= until):
            applied.positions, applied.names, tail = saved
            applied.positions.reserve(page.next_oid)
            applied.move_to(tail)

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child, with an open file of its own."""
        self._attaching = threading.Lock()
        self.view = None
        self.file.after_fork_in_child()
        words = self.file.words
        self.view = None if words is None else words.view
