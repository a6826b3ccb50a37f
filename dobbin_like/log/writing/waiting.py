"""Which process waits for the commit lock: a word of the header tells its holder.

The lock itself does not tell. A holder that sees a waiting process lets it go first.
"""

from __future__ import annotations

import os

from dobbin_like.log.format.header import WAITING
from dobbin_like.log.reading.readable import ReadableLog
from dobbin_like.processes.refusals import if_possible

__all__ = ["Waiting"]


class Waiting:
    """The word WAITING of one log: the process that waits for the lock; 0: none."""

    def __init__(self, log: ReadableLog) -> None:
        self._log = log
        self.told: bool = False  # Whether this instance waits for the lock.

    def tell(self) -> None:
        """Note that this process waits. The word has the last one that did so.

        Raises LogMovedError if the descriptor was closed: it may be another file that is locked.
        """
        file = self._log.file
        words = file.words
        if words is not None:
            file.check_descriptor()
            words.put(WAITING, os.getpid())
            self.told = True

    def got_it(self) -> None:
        """Clear the note: this instance, which waited, has the lock."""
        self.told = False
        if self._process() == os.getpid():
            self._clear()

    def give_up(self) -> None:
        """Clear the note: this instance does not wait any more."""
        with if_possible():  # The error of the wait must not be hidden.
            self.got_it()

    def forget_the_dead(self) -> None:
        """Clear the word if the process in it has died."""
        if not _is_alive(self._process()):
            self._clear()

    def _process(self) -> int:
        words = self._log.file.words
        return (words and words.find(WAITING)) or 0

    def _clear(self) -> None:
        words = self._log.file.words
        if words is not None:
            words.put(WAITING, 0)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return bool(process)
