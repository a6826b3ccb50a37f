"""The files of a log that was packed: the one it goes on in, and those before it.

Guards what older snapshots need: a file from before a pack is kept open as long as a snapshot
needs what the pack has dropped. Knows nothing of their contents except since when they are
complete. Read :mod:`dobbin_like.log.reading.readable` next.
"""

from __future__ import annotations

import threading

from dobbin_like.ids import Tid
from dobbin_like.log.reading.log_index import Applied
from dobbin_like.processes.interrupts import reentrant_lock
from dobbin_like.processes.threads import start_thread


class Generations:
    """The files of one log, as one instance has them open. Any thread.

    ``present`` is the file that is read, replaced whole when the log was packed; ``past``
    has the files before it that older snapshots still need, oldest first. Both are
    replaced whole, ``past`` first.
    """

    def __init__(self, path: str, present: Applied) -> None:
        self.path = path
        self.present: Applied = present
        self.past: tuple[Applied, ...] = ()
        self._dropped: list[Applied] = []  # Taken out by a thread that is about to close them.
        self._pins: dict[object, Tid] = {}
        # Held while pins are looked for and files dropped, and while one is pinned.
        self._turn = reentrant_lock()

    def close(self) -> None:
        """Drop the files of before, and read the present one no more."""
        self.present.loader = self.present.streams = None
        self.past = ()

    def switch_to(self, present: Applied) -> None:
        """Go on in another file. The tables of names stay the object that they are."""
        names = self.present.names
        names.update(*present.names.rows())
        names.leave_only(present.names.numbers())
        present.names = names
        # In this order: a thread that sees the new file finds the old one in the past.
        self.past = (*self.past, self.present)
        self.present = present

    def pin(self, tid: Tid) -> object:
        """Keep what snapshots from *tid* on need, until unpin() is called with the result."""
        token = object()
        with self._turn:
            self._pins[token] = tid
        return token

    def unpin(self, token: object) -> None:
        """Take a pin() back. Nothing happens the second time."""
        self._pins.pop(token, None)

    def after_fork_in_child(self) -> None:
        """Release what threads of the parent have held."""
        self._turn = reentrant_lock()

    def drop(self, oldest: Tid | None) -> None:
        """Drop the files that no snapshot from *oldest* on needs, and no pin.

        The system may take a while to free what a large file takes on the disk.
        """
        with self._turn:
            self._dropped += self._take_out(oldest)
        if self._dropped:
            # The last reference closes the file: this one, or that of a reader that still
            # uses it.
            thread = threading.Thread(
                target=self._dropped.clear, name=f"close {self.path}", daemon=True
            )
            if not start_thread(thread):
                self._dropped.clear()

    def _take_out(self, oldest: Tid | None) -> list[Applied]:
        """Take the files that nobody needs out of the past, and return them."""
        pinned = list(self._pins.values())
        if oldest is not None:
            pinned.append(oldest)
        past = self.past  # Once: close() may come from another thread.
        if not past:  # Another thread was faster.
            return []
        followers = (*past[1:], self.present)
        kept: list[Applied] = []
        dropped: list[Applied] = []
        for applied, after in zip(past, followers, strict=True):
            needed = pinned and min(pinned) < after.complete_since
            (kept if needed else dropped).append(applied)
        self.past = tuple(kept)
        return dropped

    def at(self, tid: Tid) -> Applied:
        """Return the newest file that has all that a snapshot at *tid* sees.

        If the log was packed twice before this instance looked, it has no file for the time
        between the end of one file and the tid from which the next is complete. There are no
        snapshots in that time; a version from it that is still needed is in the newer file.
        """
        newer = self.present
        if tid >= newer.complete_since:
            return newer
        for applied in reversed(self.past):
            if tid >= applied.complete_since:
                return applied if tid <= applied.tail.tid else newer
            newer = applied
        return newer

    def with_dropped(self, tid: Tid) -> list[Applied]:
        """Return the older files that have all as of *tid*, newest first.

        Each also has the objects that a pack has dropped because nothing led to them.
        """
        past = [*reversed(self.past)]
        return [each for each in past if each.complete_since < tid <= each.tail.tid]

    def files(self, tid: Tid | None = None) -> list[Applied]:
        """Return the files, newest first; first the newest that has all as of *tid*."""
        present = self.present
        if not present.generation:
            return [present]
        files = [present, *reversed(self.past)]
        if tid is not None:
            files.sort(key=lambda applied: applied.complete_since > tid)
        return files

    def reaches(self, tid: Tid) -> bool:
        """Return whether the state as of *tid* is there, and all that was committed since.

        If the log was packed twice since this instance looked, what came after the first pack
        and was dropped by the second was never seen here, and is not there.
        """
        after: Applied | None = None
        for applied in self.files():
            if after is not None and applied.tail.tid < after.complete_since:
                return False
            if applied.complete_since <= tid:
                return True
            after = applied
        return False
