"""The files of a log that was packed: the one it goes on in, and those before it.

Guards what older snapshots need: a file of before is kept open as long as one of them needs
what packing has dropped from it. Knows nothing of what is in them but since when it is
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
        self._dropped: list[Applied] = []  # On their way to be closed, by a thread.
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
        # In this order: whoever finds the new one finds the old one among the past.
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
        """Let nobody hold what a thread of the parent has held."""
        self._turn = reentrant_lock()

    def drop(self, oldest: Tid | None) -> None:
        """Drop the files that no snapshot from *oldest* on needs, and no pin.

        The system may take a while to free what a large file takes on the disk.
        """
        with self._turn:
            self._dropped += self._take_out(oldest)
        if self._dropped:
            # Whoever has the last reference closes the file: this thread, for it has no
            # other. A reader that is still at it does so itself.
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

        If the log was packed twice before this instance looked, it has no file for what came
        after the end of one and before the next is complete. Nobody has a snapshot there;
        a version of then that somebody still needs is in the newer file.
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
        """Return the files of before that have all as of *tid*, newest first.

        Each has what was there and what nothing led to by then, which a pack has dropped.
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

        What was dropped by the second of two packs, and came after the first, was never seen
        by an instance that looked before both of them only: it is not there.
        """
        after: Applied | None = None
        for applied in self.files():
            if after is not None and applied.tail.tid < after.complete_since:
                return False
            if applied.complete_since <= tid:
                return True
            after = applied
        return False
