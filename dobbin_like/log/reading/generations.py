"""The files of a log that was packed: the one it goes on in, and those before it.

A file of before is kept open as long as a snapshot needs what packing has dropped from it.
Knows nothing of what is in them but since when it is complete.
Read :mod:`dobbin_like.log.reading.history` next.
"""

from __future__ import annotations

import threading

from dobbin_like.ids import Tid
from dobbin_like.log.reading.log_index import Applied

__all__ = ["Generations"]


class Generations:
    """The part of a readable log that knows which file to ask. Any thread.

    ``_applied`` is the file that is read, replaced whole when the log was packed; ``_past``
    has the files before it that older snapshots still need, oldest first. Both are
    replaced whole, ``_past`` first.
    """

    path: str
    _applied: Applied

    def __init__(self) -> None:
        self._past: tuple[Applied, ...] = ()
        self._dropped: list[Applied] = []  # On their way to be closed, by a thread.
        self._pins: dict[object, Tid] = {}

    @property
    def complete_since(self) -> Tid:
        """The tid since which every version is there; 0: the log was never packed."""
        return self._applied.complete_since

    @property
    def generation(self) -> int:
        """How often the log was packed."""
        return self._applied.generation

    @property
    def has_past(self) -> bool:
        """Whether files are kept open that were packed since, for older snapshots."""
        return bool(self._past)

    def pin(self, tid: Tid) -> object:
        """Keep what snapshots from *tid* on need, until unpin() is called with the result."""
        token = object()
        self._pins[token] = tid
        return token

    def unpin(self, token: object) -> None:
        """Take a pin() back. Nothing happens the second time."""
        self._pins.pop(token, None)

    def drop_generations(self, oldest: Tid | None) -> None:
        """Let go of the files that no snapshot from *oldest* on needs; ``None``: no snapshot.

        Calls are serialized by the caller, with those of read_news(). Does not wait for the
        system to free what they take on the disk, which takes a while for a large file.
        """
        self._dropped += self._drop(oldest)
        if self._dropped:
            # Whoever has the last reference closes the file: this thread, for it has no
            # other. A reader that is still at it does so itself.
            thread = threading.Thread(
                target=self._dropped.clear, name=f"close {self.path}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:  # The interpreter ends, or has too many.
                self._dropped.clear()

    def _drop(self, oldest: Tid | None) -> list[Applied]:
        """Take the files that nobody needs out of the past, and return them."""
        pinned = list(self._pins.values())
        if oldest is not None:
            pinned.append(oldest)
        past = self._past  # Once: close() may come from another thread.
        if not past:  # Another thread was faster.
            return []
        followers = (*past[1:], self._applied)
        kept: list[Applied] = []
        dropped: list[Applied] = []
        for applied, after in zip(past, followers, strict=True):
            needed = pinned and min(pinned) < after.complete_since
            (kept if needed else dropped).append(applied)
        self._past = tuple(kept)
        return dropped

    def _applied_at(self, at: Tid) -> Applied:
        """Return the newest file that has all that a snapshot at *at* sees.

        If the log was packed twice before this instance looked, it has no file for what came
        after the end of one and before the next is complete. Nobody has a snapshot there;
        a version of then that somebody still needs is in the newer file.
        """
        newer = self._applied
        if at >= newer.complete_since:
            return newer
        for applied in reversed(self._past):
            if at >= applied.complete_since:
                return applied if at <= applied.tail.tid else newer
            newer = applied
        return newer

    def _files(self, tid: Tid | None = None) -> list[Applied]:
        """Return the files, newest first; first the newest that has all as of *tid*."""
        present = self._applied
        if not present.generation:
            return [present]
        files = [present, *reversed(self._past)]
        if tid is not None:
            files.sort(key=lambda applied: applied.complete_since > tid)
        return files
