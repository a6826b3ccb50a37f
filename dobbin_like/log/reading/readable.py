"""The reading half of a log: what is applied, what is new, one version of one object.

Promises that a transaction is seen whole or not at all, and that reading never waits (I2, I3).
Takes no lock. Read :mod:`dobbin_like.log.reading.history` next.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from dobbin_like.contract import Transaction
from dobbin_like.exc import ClosedError, IntegrityError, StreamMovedError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.file import disk, range_lock
from dobbin_like.log.file.at_path import check_restored
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import SEEN_SIZE, Words
from dobbin_like.log.format.header import (
    DURABLE,
    PAGE_SIZE,
    REPLACED,
    RESTORED,
    STATE,
    Page,
    decode_words,
)
from dobbin_like.log.reading.chain import certain_transactions, find_end
from dobbin_like.log.reading.generations import Generations
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.log.reading.opening import apply_certain, read_packed
from dobbin_like.log.reading.reader import LoggedTransaction, LoggedVersion, ReadBuffer
from dobbin_like.log.reading.streams import StoredStreams, is_of, stream_offset
from dobbin_like.processes.interrupts import reentrant_lock

__all__ = ["ReadableLog"]

_logger = logging.getLogger(__name__)


class ReadableLog:
    """A log as its readers see it. Any thread; see the contract for news.

    ``generations`` are its files, ``file`` is the one it goes on in, ``applied`` what is
    applied of it. ``follow_to`` is called with what is applied of the file of a packed log;
    the writing half replaces it by a function that calls switch_to().

    Args:
        follows: See :class:`.LogFile`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, read_only: bool, follows: bool = False
    ) -> None:
        # Absolute: the process may change its directory.
        self.path: str = os.path.abspath(os.fspath(path))  # noqa: PTH100  links stay links
        self.read_only = read_only
        self.closed: bool = False
        self.file: LogFile = LogFile(self.path, read_only=read_only, follows=follows)
        self.applied: Applied = Applied(self.file)
        self.generations: Generations = Generations(self.path, self.applied)
        self._outdated = b""  # Words that say less than what was found without them.
        self._replaced = False  # When news were read last, another file had replaced this one.
        self.follow_to: Callable[[Applied], None] = self.switch_to
        self.sort_key: str = "dobbin_like:" + os.path.realpath(self.path)
        self._attaching = reentrant_lock()

    @property
    def buffer(self) -> ReadBuffer:
        """A new buffer over the file that the log goes on in."""
        return ReadBuffer(self.file.fd, self.path)

    def check_open(self) -> None:
        """Raise ClosedError after close()."""
        if self.closed:
            self.refuse_closed()

    def refuse_closed(self) -> NoReturn:
        """Raise ClosedError."""
        text = f"the log {self.path}"
        raise ClosedError(text)

    @contextlib.contextmanager
    def or_closed(self) -> Iterator[None]:
        """Let reading raise ClosedError if another thread has closed the log meanwhile.

        Then the number of the descriptor is free, or already that of another file.
        """
        try:
            yield
        except (OSError, IntegrityError):
            self._check_still_open()
            raise

    def _check_still_open(self) -> None:
        """Raise the reason why reading has failed if another thread has closed the file."""
        self.check_open()
        self.file.check_descriptor()

    def close(self) -> None:
        """Give the file back. Idempotent."""
        self.closed = True
        self.close_file()

    def close_file(self) -> None:
        """Read nothing more; a read that has begun may go on to its end."""
        self.generations.close()
        self.file.close()

    # -- news ------------------------------------------------------------------

    def has_news(self) -> bool:
        """Return whether others have committed what is not applied yet.

        Cost: One system call.
        """
        # Keep a reference: if another thread follows to a packed log, the last one closes the
        # file.
        applied = self.applied
        words = applied.file.words
        if words is not None and applied.loader is not None:
            try:
                return words.seen() != applied.seen
            except OSError:
                self._check_still_open()
                raise
        self.check_open()
        return self.file.looks_begun()

    def read_news(self) -> list[LoggedTransaction]:
        """Return the visible transactions that are not applied, oldest first.

        Raises:
            IntegrityError: Visible bytes are damaged. What is applied stays valid.

        Cost: Objects changed, not their sizes.
        """
        self.check_open()
        try:  # As or_closed() does, without its cost at every commit of others.
            return self._read_news()
        except (OSError, IntegrityError):
            self._check_still_open()
            raise

    def _read_news(self) -> list[LoggedTransaction]:
        if self.file.words is None and not self.file.attach():
            return []
        _, words = self.attach()
        applied = self.applied
        block = words.all()
        # Before the frames are read: nothing is appended to a file that was replaced.
        state = decode_words(block).state
        self._replaced = replaced = state == REPLACED
        visible = self._visible(words, block)
        place = start = applied.tail
        news: list[LoggedTransaction] = []
        if start.end < visible:
            for run, after in certain_transactions(self.buffer, start, visible):
                news += run
                place = after
        passed = news[-1].end if news else start.end
        if place.end != passed:
            applied.pass_over(passed, place)
        # A file that was replaced has news until the instance follows.
        goes = state in {REPLACED, RESTORED}
        applied.look(b"" if goes else block[:SEEN_SIZE], place.end)
        if not news and replaced:
            return self._follow()
        if not news and state == RESTORED:
            check_restored(self.file)
        return news

    def _visible(self, words: Words, block: bytes) -> int:
        # None: the file was cut, and has_news() stays true.
        if block and block[:SEEN_SIZE] in (self.applied.seen, self._outdated):
            return self.applied.tail.end
        _, durable, loose, *_ = decode_words(block)
        if durable is None or loose is None:  # It may have been read while it was stored.
            visible = words.visible()
        else:
            visible = durable if durable > loose else loose
        tail = self.applied.tail
        if visible < tail.end:
            found = f"a visible end at {visible}"
            expected = f"{tail.end} or after, as read before"
            raise IntegrityError(self.path, visible, found, expected)
        return visible

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
        try:  # As or_closed() does, for every object.
            position = applied.positions.get(oid)
            if not position:
                return None
            stored = loader.load(oid, position, applied.limit)
        except (OSError, IntegrityError):
            self.check_open()
            raise
        if at is None or stored.tid <= at:
            return stored
        with self.or_closed():
            return loader.load_until(at, oid, stored, applied.limit)

    def load_dropped(self, oid: Oid, at: Tid) -> LoggedVersion | None:
        """Return the version of an object as of *at* that a pack has dropped, if its file is kept.

        Nothing led to the object at that time, so no snapshot needs it.
        """
        for older in self.generations.with_dropped(at):
            loader = older.loader
            if loader is None:
                continue
            with self.or_closed():
                position = older.positions.get(oid)
                if position:
                    stored = loader.load(oid, position, older.limit)
                    found = loader.load_until(at, oid, stored, older.limit)
                    if found is not None:
                        return found
        return None

    def position(self, oid: Oid) -> int:
        """Return where the newest applied version of an object is, in bytes; 0: there is none."""
        applied = self.applied
        try:  # As or_closed() does, for many objects.
            return applied.positions.get(oid)
        except (OSError, IntegrityError):
            self.check_open()
            raise

    def stream(self, key: int) -> tuple[StoredStreams, int]:
        """Return what reads a stream, and its offset.

        Raises:
            StreamMovedError: The log was packed; the object of the stream has another key.
        """
        generations = self.generations
        for applied in (generations.present, *generations.past):
            streams = applied.streams
            if is_of(key, applied.generation) and streams is not None:
                return streams, stream_offset(key)
        self.check_open()
        raise StreamMovedError(self.path, key)

    # -- the file --------------------------------------------------------------

    def open(self) -> bool:
        """Open the file, apply what is certain of it; return whether it is there.

        A log that is only read then shows what is visible; for another one, the writing half
        finds the end.
        """
        if not self.file.open():
            return False
        _, words = self.attach()
        apply_certain(self.path, self.applied, words)
        if self.read_only:
            self._show_end(words)
            self.apply(self.read_news())
        return True

    def start_anew(self) -> None:
        """Forget a file of which nothing was shown yet: another one has replaced it."""
        self.file.close()
        follows = self.file.follows
        self.file = LogFile(self.path, read_only=self.read_only, follows=follows)
        self.applied = self.generations.present = Applied(self.file)

    def _show_end(self, words: Words) -> None:
        """If there is no writer, find the end of the log, and show what is before it.

        While there is a writer, the words are right. Otherwise they may be outdated: what
        follows DURABLE is believed as in recovery, and shown when it is on stable storage.
        """
        while True:
            seen = words.seen()
            if self._is_writer_there():
                return
            end = self._certain_end(words)
            # A writer that came meanwhile may have appended what was found, and not stored the
            # words yet.
            if not self._is_writer_there() and words.seen() == seen:
                break
        for run, after in certain_transactions(self.buffer, self.applied.tail, end):
            self.apply(run)
            self.applied.move_to(after)
        self.applied.look(seen, end)
        self._outdated = seen

    def _is_writer_there(self) -> bool:
        found = range_lock.holder(self.file.fd, self.path, range_lock.WRITER)
        return found == range_lock.SHARED

    def _certain_end(self, words: Words) -> int:
        """Find the end, and bring what is before it to stable storage."""
        fd = self.file.fd
        end = self.find_end(words, disk.status(fd, self.path).st_size)
        if end > self.applied.tail.end:
            disk.sync(fd, self.path)
            # After a failed sync of another process, the system may take a page for written that
            # is not. Drop these pages, but not the words: others have seen them as they are.
            disk.drop_cache(fd, PAGE_SIZE)
            end = self.find_end(words, end)
        return end

    def find_end(self, words: Words, limit: int) -> int:
        """Return where the whole frames after what is applied end.

        Raises:
            IntegrityError: Nothing tells where the log ends; or what was durable is missing.
        """
        # Before the frames are read: a writer may come meanwhile.
        durable = words.find(DURABLE)
        return find_end(self.buffer, self.applied.tail, limit, durable)

    def rest(self, start: int, end: int) -> bool:
        """Return whether there are bytes other than zeros from *start* to *end*."""
        return disk.first_not_zero(self.file.fd, self.path, start, end) is not None

    def attach(self) -> tuple[Page, Words]:
        """Use the file, which is there by now; return its header."""
        page, words = self.file.page, self.file.words
        if page is None or words is None:
            self.refuse_closed()
        if self.applied.loader is None:
            with self._attaching:
                if self.applied.loader is None:
                    self.applied.attach(page)
                    self._set_sort_key(self.file)
        return page, words

    def _set_sort_key(self, file: LogFile) -> None:
        # By the inode and not the path, which may differ between processes.
        if file.page is not None:
            self.sort_key = f"dobbin_like:{file.page.store_id.hex()}:{file.key[1]}"

    @property
    def retired(self) -> bool:
        """Whether the log goes on in another file, to which read_news() follows."""
        return self._replaced  # As of the last read_news(); has_news() may know more.

    def _follow(self) -> list[LoggedTransaction]:
        """Go on in the file that has replaced this one, all of which is applied.

        Readers take the file that their snapshot needs; see :class:`.Generations`.

        Returns:
            The news in it; none if it is not there yet.

        Raises:
            OSError: It can't be opened. What is applied stays valid.
        """
        found = read_packed(self.path, self.file, self.applied.tail.tid)
        if found is None:
            return []
        applied, news = found
        self.follow_to(applied)
        words = applied.file.words
        self._replaced = words is not None and words.find(STATE) == REPLACED
        _logger.info("%s: follows to the packed log, generation %d", self.path, applied.generation)
        return news or self.read_news()  # It may have been packed again.

    def switch_to(self, applied: Applied) -> None:
        """Read another file from now on."""
        self.generations.switch_to(applied)
        self._replaced = False
        self.applied, self.file = applied, applied.file
        self._set_sort_key(applied.file)

    def after_fork_in_child(self) -> None:
        """Start anew in a forked child, with an open file of its own."""
        self._attaching = reentrant_lock()
        self.applied.turn = reentrant_lock()
        self.generations.after_fork_in_child()
        self.file.after_fork_in_child()
