"""How a transaction is made durable: in the redo area, or in the log itself.

Used by the holder of the commit lock, between prepare() and finish(). The argument why
nothing acknowledged is lost is at the head of :mod:`dobbin_like.log.reading.redo`. Knows bytes and
offsets, and nothing of what is in a transaction.
"""

from __future__ import annotations

import contextlib
from typing import Final

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.file.log_file import LogFile
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import record
from dobbin_like.log.format.header import COMMITTED, DURABLE, REDO, REDO_BASE, raw_word
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.aside import note_aside
from dobbin_like.log.reading.reader import ReadBuffer
from dobbin_like.log.reading.redo import Area, append_area, area_offset, read_area

__all__ = ["Synced"]

IMAGE_BYTES: Final = 1 << 15
"""Size of an image: one sync of the whole file in some two hundred small commits."""

AREA_AFTER_SYNCS: Final = 8
"""Commits that waited for the log itself, after which a redo area is worth its bytes."""

_NO_AREA: Final = frozenset({raw_word(REDO, 0), 0})
_NO_BASE: Final = raw_word(REDO_BASE, 0)
_FORGOTTEN: Final = bytes(8)


class Synced:
    """Writes transactions durably. What it read of the file is kept with the raw words.

    ``at`` is where in the file the image has the transaction that was written last; 0 if
    it is not there, or counts by now. ``_in_log``: it is durable in the log itself, and so
    is all before it. ``_waited``: how many such there were since a redo area was looked for.
    """

    def __init__(self, file: LogFile, *, tells_power_cuts: bool) -> None:
        self.image_bytes = IMAGE_BYTES
        self.area_after_syncs = AREA_AFTER_SYNCS
        self.at = 0
        self._in_log = False
        self._waited = 0
        # Elsewhere nobody would know that something has to be put back from the image.
        self._may_use_image = tells_power_cuts and disk.SYNCS_RANGES
        self._file = file
        self._raw = self._raw_base = 0
        self._area: Area | None = None
        self._base = 0
        self._begun = False

    def switch_file(self, file: LogFile) -> None:
        """Write to another file from now on. Nothing is under way."""
        self._file = file
        self._raw = self._raw_base = 0
        self._area = None
        self._waited = 0

    def write(self, words: Words, data: bytes, offset: int, *, decided: bool) -> None:
        """Append a transaction at *offset* of the log, durably.

        Args:
            decided: Nobody can veto any more; others do not go through the image.

        Raises:
            OSError: A part may have been written.
        """
        file = self._file
        if words.view[DURABLE] == raw_word(DURABLE, offset):
            # All before is on stable storage: this alone has to get there.
            if decided and self._may_use_image and self._write_to_image(words, data, offset):
                return
            if self._log_has_all_before(words, offset):
                disk.write_synced(file.fd, file.path, data, offset)
                self._in_log = True
                self._waited += 1
                return
        # What only the image has gets into the log by this, before the base moves.
        if words.view[REDO_BASE] == _NO_BASE:
            self._write_anew(words, offset)
        disk.write(file.fd, file.path, data, offset)
        disk.sync(file.fd, file.path)
        self._in_log = True
        self._waited += 1

    def finish(self, words: Words, end: int) -> None:
        """Let what was written, up to *end*, be known as durable. Can be repeated."""
        if self._in_log and words.view[REDO] not in _NO_AREA:
            # Before DURABLE: an image that ends before it is not used.
            words.put(REDO_BASE, end)
        words.put(DURABLE, end)

    def reset(self) -> None:
        """Begin anew: what was written last counts, or was given up."""
        self.at = 0
        self._in_log = False

    def forget(self, words: Words) -> None:
        """Use no image until the whole file has been synced; overwrite what is ``at`` a place.

        Called before something is cut off the log. Can be repeated.

        Raises:
            OSError: What is in the image may come back by a power cut.
        """
        if words.view[REDO] in _NO_AREA:
            return
        if words.view[REDO_BASE] != _NO_BASE:
            words.put(REDO_BASE, 0)
        if self.at:
            # Checksum and status, in one sector: a frame begins with 8 aligned bytes.
            disk.write_synced(self._file.fd, self._file.path, _FORGOTTEN, self.at)

    def distrust(self, words: Words) -> None:
        """Use no image until the whole file has been synced: a sync has failed. Any thread."""
        if words.view[REDO] not in _NO_AREA:
            words.put(REDO_BASE, 0)

    # -- the area ---------------------------------------------------------------

    def area_is_due(self, words: Words) -> bool:
        """Return whether a redo area is worth while, and there is none."""
        if self._waited < self.area_after_syncs or not self._may_use_image:
            return False
        self._waited = 0
        offset = area_offset(words)
        return not offset or read_area(ReadBuffer(self._file.fd, self._file.path), offset) is None

    def make_area(self, words: Words, tail: LogPlace) -> LogPlace:
        """Append a redo area; return the place after it. It is committed, and durable.

        Raises:
            OSError: It was not written, or is not used; the caller cuts the file at COMMITTED.
        """
        file = self._file
        after = append_area(file.fd, file.path, tail, self.image_bytes)
        # What only a lost area has, too, must be in the log before another takes its place.
        disk.sync(file.fd, file.path)
        words.put(COMMITTED, after.end)
        note_aside(words, tail.end, after.end)
        # No base yet: the area is used when the words too are on stable storage.
        words.put(REDO_BASE, 0)
        words.put(REDO, tail.end)
        try:
            disk.sync(file.fd, file.path)
        except OSError:
            words.put(REDO, 0)
            raise
        words.put(REDO_BASE, after.end)
        words.put(DURABLE, after.end)
        return after

    def _write_anew(self, words: Words, offset: int) -> None:
        """Write what the image alone may have to the log once more, before it is synced.

        The sync before may have failed. Then the system takes what was written for synced,
        and the next sync succeeds without writing it.

        Raises:
            OSError: Writing failed.
        """
        file = self._file
        place = area_offset(words)
        area = read_area(ReadBuffer(file.fd, file.path), place) if place else None
        if area is None:
            return
        with contextlib.suppress(IntegrityError):
            base = area.base(file.fd, file.path)
            if base and base < offset:
                size = min(offset - base, area.size)
                data = disk.read_exactly(file.fd, file.path, base, size)
                disk.write(file.fd, file.path, data, base)

    def _log_has_all_before(self, words: Words, offset: int) -> bool:
        """Return whether what is durable before *offset* is so in the log itself."""
        if words.view[REDO] in _NO_AREA:
            return True
        return words.view[REDO_BASE] == raw_word(REDO_BASE, offset)

    # -- the image --------------------------------------------------------------

    def _write_to_image(self, words: Words, data: bytes, offset: int) -> bool:
        """Append to the log, and durably to the image.

        Returns:
            False if there is no image, or no room in it. Nothing was written.

        Requires: All before *offset* is durable.
        """
        view = words.view
        if view[REDO] != self._raw or view[REDO_BASE] != self._raw_base:
            self._look(words)
        area = self._area
        if area is None:
            return False
        file = self._file
        at = offset - self._base
        place = area.start + record.IMAGE_SIZE + at
        if at < 0 or place + len(data) > area.start + area.size or (at and not self._begun):
            return False
        # The log first: a killed writer leaves there whatever is in the image.
        disk.write(file.fd, file.path, data, offset)
        self.at = place  # Before writing: an interrupt must not hide what is there.
        if at:
            disk.write_synced(file.fd, file.path, data, place)
        else:
            disk.write_synced(file.fd, file.path, area.head(offset) + data, area.start)
            self._begun = True
        return True

    def _look(self, words: Words) -> None:
        """Read area and base; without both, there is no image to use."""
        self._area = None
        raw, raw_base = words.view[REDO], words.view[REDO_BASE]
        offset, base = area_offset(words), words.get(REDO_BASE)
        if offset and base:
            file = self._file
            area = read_area(ReadBuffer(file.fd, file.path), offset)
            if area is not None:
                # The word alone does not say that anything was written there.
                self._begun = area.base(file.fd, file.path) == base
                self._base = base
                self._area = area
        # Last: interrupted before, it is read again.
        self._raw, self._raw_base = raw, raw_base
