"""What is appended to a log, as the holder of the commit lock knows it, and how it catches up.

As long as the words are as it left them, no other process has written, and nothing is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import SEEN_SIZE, Words
from dobbin_like.log.format import record
from dobbin_like.log.format.header import (
    APPENDED,
    DURABLE,
    FAILURES,
    LOOSE,
    REPLACED,
    STATE,
    SYNCING,
    USUAL,
    WAITING,
    WORD_SIZE,
    WordValues,
    decode_word,
    decode_words,
)
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.chain import certain_transactions
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.log.reading.reader import LoggedTransaction
from dobbin_like.log.writing.presence import repair
from dobbin_like.log.writing.syncing import mark_failure

__all__ = ["APPENDED_AT", "LOOSE_AT", "WAITING_AT", "Appended"]

_DURABLE_AT: Final = DURABLE * WORD_SIZE
_FAILURES_AT: Final = FAILURES * WORD_SIZE
LOOSE_AT: Final = LOOSE * WORD_SIZE
APPENDED_AT: Final = APPENDED * WORD_SIZE
_APPENDED_END: Final = APPENDED_AT + WORD_SIZE
WAITING_AT: Final = WAITING * WORD_SIZE


class Appended:
    """The end of one file as one instance knows it. Under the commit lock.

    ``place`` is where the next frame goes; ``told`` is how much of that APPENDED says. ``words``
    are the words as this left them, except WAITING; if they are the same, nothing has happened
    since. Of those, ``seen`` change with news; ``before_ends`` and ``behind_ends`` are those
    around LOOSE and APPENDED. ``shown`` is the end of what was visible when this last looked,
    ``failures`` is FAILURES at that time. ``transactions`` are the appended ones that end after
    what was visible at some earlier time.
    """

    def __init__(self, log: ReadableLog) -> None:
        self.file: LogFile = log.file
        self.place: LogPlace = record.first_place(0)
        self.failures: int = -1
        self.shown: int = 0
        self.told: int = 0
        self.transactions: list[LoggedTransaction] = []
        self._log = log
        self._note_words(b"")

    def catch_up(self, words: Words, block: bytes) -> None:
        """Know all frames up to APPENDED; repair what the words say is wrong."""
        if self._is_synced_only(block):
            return
        block, said = self._put_right(words, block)
        durable, loose, appended = said.durable or 0, said.loose or 0, said.appended or 0
        failures = said.failures or 0
        self.shown = max(durable, loose)
        tail = self._log.applied.tail
        if failures != self.failures or not tail.end <= self.place.end <= appended:
            self._go_back(tail)
        if appended < tail.end:
            found = f"an appended end at {appended}"
            raise IntegrityError(self.file.path, appended, found, f"{tail.end} or after")
        self.failures = failures
        try:
            for run, place in certain_transactions(self._log.buffer, self.place, appended):
                self.know(run, place)
        except IntegrityError:
            if self.place.end < self.shown:
                raise
            # It was not acknowledged: pages of a sync that failed were dropped.
            mark_failure(self.file)
            self.catch_up(words, words.all())
            return
        self.told = appended
        self._note_words(block)

    def _is_synced_only(self, block: bytes) -> bool:
        """Tell whether only a sync has happened since; if so, note what it has made visible."""
        known = self.words
        if not (
            block[:_DURABLE_AT] == known[:_DURABLE_AT]
            and block[LOOSE_AT:_APPENDED_END] == known[LOOSE_AT:_APPENDED_END]
            and block[_FAILURES_AT:WAITING_AT] == known[_FAILURES_AT:]
            and self.place.end == self.told
        ):
            return False
        durable = decode_word(DURABLE, block[_DURABLE_AT:LOOSE_AT])
        if durable is None:
            return False
        self.shown = max(self.shown, durable)
        self._note_words(block)
        return True

    def _note_words(self, block: bytes) -> None:
        self.words: bytes = block[:WAITING_AT]
        self.seen: bytes = block[:SEEN_SIZE]
        self.before_ends: bytes = block[:LOOSE_AT]
        self.behind_ends: bytes = block[_APPENDED_END:WAITING_AT]

    def _put_right(self, words: Words, block: bytes) -> tuple[bytes, WordValues]:
        """Repair what failed or is damaged; return the words as they are then."""
        said = decode_words(block)
        if None in (*said[:SYNCING], said.failures) or (said.failures or 0) & 1:
            repair(self._log)
            block = words.all()
            said = decode_words(block)
        if said.state != USUAL:
            # REPLACED, but the path leads here: the process that was to replace this file has
            # died.
            if said.state != REPLACED:
                disk.sync_directory(self.file.path)
            words.put(STATE, USUAL)
            block = words.all()
            said = decode_words(block)
        return block, said

    def _go_back(self, tail: LogPlace) -> None:
        """Know no more than what is applied."""
        self.transactions = []
        self.place = tail

    def know(self, run: Sequence[LoggedTransaction], place: LogPlace) -> None:
        """Go on to *place*; the transactions up to there are *run*."""
        known = self.transactions
        for logged in run:
            # Unless it was added before an interrupt came.
            if not known or known[-1].offset < logged.offset:
                known.append(logged)
        self.place = place  # Last: if this is interrupted before, all of it is done again.
