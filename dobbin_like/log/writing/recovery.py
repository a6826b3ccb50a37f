"""Putting the end of a log right: what the next holder of the commit lock does.

Whole transactions behind COMMITTED are adopted, a torn tail is cut off; after a power cut,
what the redo area has and the log lost is put back before anything else. Every step can be
repeated (I4). What may be believed is in :mod:`dobbin_like.log.reading.trusted_end`. Read
:mod:`dobbin_like.log.transaction_log` next.
"""

from __future__ import annotations

import logging
import os

from dobbin_like.contract import NO_NAMES
from dobbin_like.exc import IntegrityError
from dobbin_like.log.file import disk
from dobbin_like.log.file.words import Words
from dobbin_like.log.format import record
from dobbin_like.log.format.header import (
    BOOT,
    COMMITTED,
    DURABLE,
    PAGE_SIZE,
    REDO,
    REDO_BASE,
    SAVED,
)
from dobbin_like.log.format.record import LogPlace
from dobbin_like.log.reading.aside import Proof, clip_aside, said_by
from dobbin_like.log.reading.reader import Frame, ReadBuffer, read_frame
from dobbin_like.log.reading.redo import Area, area_offset, durable_in_log_end, find_area
from dobbin_like.log.reading.trusted_end import (
    Situation,
    believed_frames,
    check_not_back,
    decided_frames,
    situation,
)

__all__ = ["recover"]

_logger = logging.getLogger(__name__)


def recover(
    buffer: ReadBuffer, applied: LogPlace, words: Words, present_boot: int, *, sync: bool
) -> None:
    """Put the end of the log right. Afterwards the file ends where COMMITTED says.

    Every step can be repeated: a process killed between two of them leaves what the
    next holder of the lock finds again, because COMMITTED is moved only over frames
    that are whole, and BOOT is set last (I4).

    Requires: The commit lock; *applied* is a place that was read as committed.

    Raises:
        IntegrityError: Committed bytes are damaged. Nothing was cut.
        OSError: Writing failed. The next holder of the lock does it again.
    """
    now = situation(words, present_boot)
    redo = area_offset(words)
    # No image counts until the whole file has been synced: something may be cut here.
    words.put(REDO_BASE, 0)
    area = find_area(buffer, applied, redo)
    proof = said_by(buffer, words)
    if now.boot != present_boot:
        _after_start(buffer, applied, words, now, area)
    size = os.fstat(buffer.fd).st_size
    committed, durable = now.committed, now.durable
    if committed is None:
        end, adopted = _without_committed(buffer, applied, durable, size, proof)
    elif now.power_cut and durable is not None:
        end, adopted = _after_power_cut(buffer, applied, committed, durable, size, proof)
    else:
        # Without DURABLE nothing may be cut, so that COMMITTED has to be right.
        end, adopted = _after_death(buffer, applied, committed, size, proof)
    if end > size:
        raise IntegrityError(buffer.path, size, "the end of the file", f"{end} bytes")
    right = 0 if area is None or area.offset >= end else area.offset
    # What only the image has must be in the log before the image is lost sight of.
    sync = now.power_cut or right != redo or (adopted and sync)
    _settle(buffer, words, now, end, size, sync=sync)
    if words.get(REDO) != right:
        words.put(REDO, right)
    if now.boot != present_boot:
        words.put(BOOT, present_boot)


def _settle(
    buffer: ReadBuffer, words: Words, now: Situation, end: int, size: int, *, sync: bool
) -> None:
    """Let the file end at *end*, and the words say so."""
    if end != size:
        # Before COMMITTED: nobody reads what is cut here, for it was not committed, or
        # after a power cut is not whole.
        disk.cut(buffer.fd, buffer.path, end)
    if end != now.committed:
        words.put(COMMITTED, end)
    saved = words.get(SAVED)
    if saved is None or saved >= end:
        words.put(SAVED, 0)
    clip_aside(words, end)
    if sync:
        disk.sync(buffer.fd, buffer.path)
        if now.power_cut:
            # Who let this file take its place may have died before its name was safe.
            disk.sync_directory(buffer.path)
        words.put(DURABLE, end)
    elif now.durable is None:
        words.put(DURABLE, PAGE_SIZE)


def _after_start(
    buffer: ReadBuffer, applied: LogPlace, words: Words, now: Situation, area: Area | None
) -> None:
    """Put back what may be in the redo area only.

    Raises:
        IntegrityError: The area is damaged, so that nobody knows what was in it.
    """
    if area is not None:
        certain = durable_in_log_end(buffer, words, now.durable or PAGE_SIZE)
        _restore(buffer, applied, area, certain, said_by(buffer, words))
        return
    redo = area_offset(words)
    # Behind what was committed, it is one that did not reach the disk, and was never used.
    if redo and redo < max(now.committed or 0, now.durable or 0):
        raise IntegrityError(buffer.path, redo, "damaged bytes", "the redo area of this log")


def _restore(
    buffer: ReadBuffer, applied: LogPlace, area: Area, certain: int, proof: Proof
) -> None:
    """Put back into the log what its image has and the log lost.

    What the image says of itself is no proof: this may be a copy, of which the image was
    read at another moment than the end. So nothing but frames that fit are believed.

    Can be repeated from any point: the image is not changed, and what is written are the
    bytes that were committed there.

    Raises:
        IntegrityError: A frame before *certain* is damaged. Nothing was written.
        OSError: Writing failed.
    """
    image = area.image(buffer.fd, buffer.path)
    if image is None:
        return
    tail = applied
    count = 0
    while True:
        log = buffer.beside()  # Anew: a window keeps bytes that are overwritten here.
        size = os.fstat(buffer.fd).st_size
        for frame, decided in believed_frames(log, tail, size, certain, proof):
            if not decided:
                return
            tail = frame.tail
        lost = image.frame(tail)
        if lost is None:
            break
        length = lost.tail.end - tail.end
        data = image.read(tail.end, length, image.end)
        disk.write(buffer.fd, buffer.path, data, tail.end)
        tail = lost.tail
        count += 1
    if count:
        _logger.info("%s: %d transactions were put back from the redo area", buffer.path, count)


def _after_death(
    buffer: ReadBuffer, applied: LogPlace, committed: int, size: int, proof: Proof
) -> tuple[int, bool]:
    """Return the end and whether frames behind *committed* were adopted."""
    if committed > size:
        raise IntegrityError(buffer.path, size, "the end of the file", f"{committed} bytes")
    check_not_back(buffer, applied, committed)
    tail = applied
    for frame in decided_frames(buffer, applied, committed, proof):
        tail = frame.tail
    return _adopt(buffer, tail, size)


def _after_power_cut(
    buffer: ReadBuffer, applied: LogPlace, committed: int, durable: int, size: int, proof: Proof
) -> tuple[int, bool]:
    """Return the end and whether frames behind *committed* were adopted."""
    tail = applied
    # The words may have reached the disk in any order; what is durable was committed.
    believed = max(committed, durable)
    limit = min(size, believed)
    for frame, decided in believed_frames(buffer, applied, limit, durable, proof):
        if not decided:
            # Its decision was not synced, nor was anything that follows: the log ends here.
            break
        tail = frame.tail
    if tail.end < durable:
        raise IntegrityError(buffer.path, size, "the end of the file", f"{durable} bytes")
    if tail.end >= believed:
        return _adopt(buffer, tail, size)
    _logger.warning(
        "%s: cut from %d to %d bytes: the rest was committed without sync and did not reach "
        "the disk before the machine stopped",
        buffer.path,
        committed,
        tail.end,
    )
    return tail.end, False


def _without_committed(
    buffer: ReadBuffer, applied: LogPlace, durable: int | None, size: int, proof: Proof
) -> tuple[int, bool]:
    """Find the end without the word that says it: the frames have to reach the end of file."""
    tail = applied
    for frame, decided in believed_frames(buffer, applied, size, durable, proof):
        if decided:
            tail = frame.tail
    end, adopted = _adopt(buffer, tail, size)
    if end != size:
        text = "no whole transaction, and a header that does not say where the log ends"
        raise IntegrityError(buffer.path, end, text, f"whole transactions up to {size}")
    return end, adopted


def _adopt(buffer: ReadBuffer, tail: LogPlace, size: int) -> tuple[int, bool]:
    """Return the end of the whole transactions after *tail*, and whether there are any.

    A prepared one at the end becomes failed: its other participants never heard of success.
    One that is followed by a whole frame was decided, and this is a copy that was made in
    two reads, one before the decision and one behind it: nobody appends behind a prepared
    transaction, and to fail is to take its place with other bytes, so that nothing fits
    behind it. What is behind it and not whole says the same, and not for certain.

    A stream that no transaction follows belongs to none, and is left out.
    """
    end = start = tail.end
    undecided = True
    while undecided:
        undecided = False
        for frame, decided in believed_frames(buffer, tail, size, None):
            if not decided:
                after = _decide(buffer, tail, frame, size)
                if after is None:
                    return end, end > start
                undecided = after == frame.tail
                end, tail = after.end, after
                break
            tail = frame.tail
            if frame.kind != record.KIND_STREAM:
                end = tail.end
    return end, end > start


def _decide(buffer: ReadBuffer, tail: LogPlace, frame: Frame, size: int) -> LogPlace | None:
    """Decide what is prepared at *tail*; return the place after it, None if it is cut off."""
    logged = frame.logged
    if frame.tail.end < size:
        try:
            read_frame(buffer, frame.tail, size)
        except IntegrityError:
            return None
        status = record.WORD.pack(record.COMMITTED)
        disk.write(buffer.fd, buffer.path, status, tail.end + record.STATUS_OFFSET)
        return frame.tail
    assert logged is not None
    meta = record.Meta(NO_NAMES, logged.user, logged.description, logged.extension)
    entries = [(oid, 0, b"") for oid in logged.oids]
    data, checksum = record.encode_transaction(
        tail, logged.tid, entries, lambda _oid: 0, meta, record.FAILED
    )
    disk.write(buffer.fd, buffer.path, data, tail.end)
    return LogPlace(tail.end + len(data), tail.end, checksum, logged.sequence, logged.tid)
