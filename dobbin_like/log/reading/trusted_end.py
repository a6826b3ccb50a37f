"""Where the committed bytes end: what may be believed of a log, with or without its lock.

Between processes that live and die on a running machine there is one rule: COMMITTED is
right, everything before it is whole, and what follows is a torn tail or a transaction
that nobody heard of. A bad frame before COMMITTED is damage: an IntegrityError, never
cut, skipped or guessed at; but what is proven to lie aside (:mod:`dobbin_like.log.reading.aside`)
is passed over, for nothing depends on it.

After a power cut (BOOT is not of this run of the machine) the words and the frames are
whatever reached the disk: only what is before DURABLE is known to be there. What follows
is believed frame by frame, wholly verified, up to the first bad one. What is durable in the
redo area only, readers miss until a writer puts it back: they see a prefix.

A word whose check is wrong is not believed, and nothing is cut on its account.

Frames are chained by their checksums, so that remains of an older tail never look like a
continuation of a newer one. Read :mod:`dobbin_like.log.writing.recovery` next.
"""

from __future__ import annotations

import logging
import os
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import frame_heads, record
from dobbin_like.log.format.header import BOOT, COMMITTED, DURABLE, PAGE_SIZE
from dobbin_like.log.format.record import DamagedError, LogPlace
from dobbin_like.log.reading.aside import Proof, passed_over, said_by
from dobbin_like.log.reading.reader import Frame, ReadBuffer, read_frame, stored_entries
from dobbin_like.log.reading.redo import durable_in_log_end
from dobbin_like.log.reading.streams import verify_stream

__all__ = [
    "Situation",
    "believed_frames",
    "certain_end",
    "check_not_back",
    "committed_frames",
    "decided_frames",
    "saved_slots",
    "situation",
    "verify",
]

_logger = logging.getLogger(__name__)

_PIECE: Final = 1 << 18
"""Bytes of saved positions that are read at once."""


class Situation(NamedTuple):
    """What the words say, and whether they may be relied on."""

    committed: int | None
    durable: int | None
    boot: int | None
    power_cut: bool


def situation(words: Words, present_boot: int) -> Situation:
    """Return what the words say now. BOOT tells whether there was a power cut since."""
    boot = words.get(BOOT)
    power_cut = boot is not None and boot != present_boot
    return Situation(words.get(COMMITTED), words.get(DURABLE), boot, power_cut)


def certain_end(buffer: ReadBuffer, words: Words, present_boot: int) -> int:
    """Return an offset before which every frame is committed and has to be whole."""
    now = situation(words, present_boot)
    if now.committed is not None and not now.power_cut:
        return now.committed
    return durable_in_log_end(buffer, words, now.durable or PAGE_SIZE)


def committed_frames(
    buffer: ReadBuffer, tail: LogPlace, words: Words, present_boot: int
) -> list[Frame]:
    """Return the committed frames after *tail*, oldest first. Needs no lock.

    Raises:
        IntegrityError: Committed bytes are damaged.

    Cost: Objects changed, not their sizes; after a power cut and before the first commit
    that follows it, all bytes that are not known to be durable.
    """
    proof = said_by(buffer, words)
    while True:
        now = situation(words, present_boot)
        if now.committed is not None and not now.power_cut:
            check_not_back(buffer, tail, now.committed)
            return list(decided_frames(buffer, tail, now.committed, proof))
        size = os.fstat(buffer.fd).st_size
        limit = size if now.committed is None else min(size, now.committed)
        certain = durable_in_log_end(buffer, words, now.durable or PAGE_SIZE)
        believed = believed_frames(buffer, tail, limit, certain, proof)
        frames = [frame for frame, decided in believed if decided]
        # A writer may have put the tail right meanwhile, and begun a new one.
        if situation(words, present_boot) == now:
            return frames


def check_not_back(buffer: ReadBuffer, tail: LogPlace, committed: int) -> None:
    """Raise IntegrityError if what was read as committed no longer is.

    An earlier copy was written over the file, or the file was cut.
    """
    if committed < tail.end:
        found = f"a committed end at {committed}"
        raise IntegrityError(buffer.path, committed, found, f"{tail.end} or after, as read before")


def decided_frames(
    buffer: ReadBuffer, tail: LogPlace, limit: int, proof: Proof | None = None
) -> Iterator[Frame]:
    """Yield the frames up to *limit*, all of which must be whole and decided.

    Those aside may be damaged; see passed_over().
    """
    while tail.end < limit:
        try:
            frame = read_frame(buffer, tail, limit)
        except IntegrityError as error:
            aside = passed_over(buffer, tail, limit, proof, limit)
            if aside is None:
                raise
            _logger.info("%s; passed over, for it belongs to no transaction", error)
            frame = aside
        if frame.status == record.PREPARED:
            damage = DamagedError("a prepared transaction", "a committed or failed one")
            raise buffer.damaged(tail.end, damage)
        yield frame
        tail = frame.tail


def believed_frames(
    buffer: ReadBuffer, tail: LogPlace, limit: int, durable: int | None, proof: Proof | None = None
) -> Iterator[tuple[Frame, bool]]:
    """Yield the frames up to the first that is not whole, and whether each is decided.

    What ends before *durable*, about which there is a *proof*, must be whole, but for
    frames aside. An undecided transaction is the last one.
    """
    while tail.end < limit:
        certain = durable is not None and tail.end < durable
        frame: Frame | None
        try:
            frame = read_frame(buffer, tail, limit)
            if not certain:
                verify(buffer, tail, frame)
        except IntegrityError as error:
            if durable is None:  # It is behind COMMITTED: no need to search there.
                frame = None
            else:
                frame = _beside_damage(buffer, tail, limit, durable, proof)
            if frame is None:
                # What the disk does not give now may be whole: nobody must cut it off.
                if certain or isinstance(error.__cause__, OSError):
                    raise
                return
        if frame.status == record.PREPARED:
            yield frame, False
            return
        yield frame, True
        tail = frame.tail


def _beside_damage(
    buffer: ReadBuffer, tail: LogPlace, limit: int, durable: int, proof: Proof | None
) -> Frame | None:
    """Return what lies aside at *tail* and is damaged; None if that is not proven.

    From *durable* on, what follows has to be whole and decided. Else the log would be made to
    end with the damage, and nothing would prove any more what it is.
    """
    if tail.end < durable:
        return passed_over(buffer, tail, limit, proof, durable)
    frame = passed_over(buffer, tail, limit)
    while frame is not None:
        after = read_frame(buffer, frame.tail, limit)
        try:
            verify(buffer, frame.tail, after)
        except IntegrityError:
            if after.kind not in record.ASIDE:
                return None
            frame = passed_over(buffer, frame.tail, limit)
        else:
            return None if after.status == record.PREPARED else frame
    return None


def verify(buffer: ReadBuffer, tail: LogPlace, frame: Frame) -> None:
    """Check what reading a frame leaves out: states, streams, saved positions.

    Raises:
        IntegrityError: A part of it is damaged.

    Cost: The bytes of the frame.
    """
    if frame.logged is not None:
        for _ in stored_entries(buffer, frame.logged):
            pass
        return
    if frame.kind == record.KIND_DAMAGED:
        return
    if frame.kind == record.KIND_STREAM:
        verify_stream(buffer.fd, buffer.path, tail.end)
        return
    if frame.kind == record.KIND_REDO:
        # Of the image nothing has to be whole: what is not is not believed.
        data = buffer.read(tail.end, record.REDO_SIZE, frame.tail.end)
        try:
            frame_heads.decode_redo_head(data, tail.end)
        except DamagedError as error:
            raise buffer.damaged(tail.end, error) from None
        return
    saved_slots(buffer, tail.end, frame.tail.end)


def saved_slots(
    buffer: ReadBuffer, offset: int, end: int
) -> tuple[frame_heads.PositionsHead, array[int]]:
    """Return saved positions and their slots, for :meth:`Positions.decode`.

    Raises:
        IntegrityError: They are damaged.
    """
    data = buffer.read(offset, record.POSITIONS_SIZE, end)
    head = frame_heads.decode_positions_head(data)
    start = offset + frame_heads.slots_distance(data)
    if start + 8 * head.slots > end:
        error = DamagedError(f"{head.slots} slots", f"slots that end before {end}")
        raise buffer.damaged(offset, error)
    # In pieces: most of the cost of a big block is that of memory never used before.
    slots = array("Q")
    checksum = 0
    for at in range(start, start + 8 * head.slots, _PIECE):
        size = min(_PIECE, start + 8 * head.slots - at)
        piece = disk.read_exactly(buffer.fd, buffer.path, at, size)
        checksum = crc32(piece, checksum)
        slots.frombytes(piece)
    if checksum != head.slots_checksum:
        error = DamagedError("saved positions with a wrong checksum", "the right one")
        raise buffer.damaged(offset, error)
    return head, slots
