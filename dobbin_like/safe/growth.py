"""Packing the log of a safe when much of it is no longer needed.

Often, many programs in turn open a safe, write a little, and close it again. None of them lives
long enough to look at the file now and then, and none remembers the last result. Instead, there
is a series of sizes, each a fifth above the one before. A program whose write lets the file grow
beyond the next size measures the garbage, in a thread. So on average five bytes are read for each
byte written, and the file is never much larger than its contents and the limit allow.
"""

from __future__ import annotations

import math
import os
import threading
from typing import Final

from dobbin_like.processes.refusals import if_possible
from dobbin_like.processes.threads import start_thread
from dobbin_like.storage import TransactionLog
from dobbin_like.upkeep.auto_pack import LEAST_BYTES, AutoPack

_STEP: Final = 1.2


class Growth:
    """Watches the file of one log. Any thread may report a write."""

    def __init__(self, log: TransactionLog, limit: float) -> None:
        self.limit = limit
        self._path = log.path
        self._packing = AutoPack(log.path, limit, opened_as=log)
        self._step = self._look()
        self._thread: threading.Thread | None = None
        self._pid = 0  # Of the process that has started it.

    def written(self) -> None:
        """Look at the size, and start a pack if necessary. Cost: a system call."""
        step = self._look()
        grown = step > self._step
        self._step = step
        if grown and self._running() is None:
            thread = threading.Thread(target=self._pack, name=f"pack {self._path}")
            if start_thread(thread):
                self._thread, self._pid = thread, os.getpid()

    def join(self) -> None:
        thread = self._running()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _running(self) -> threading.Thread | None:
        thread = self._thread
        # In a child that was forked without hooks, the thread of the parent seems to be alive.
        if thread is None or self._pid != os.getpid() or not thread.is_alive():
            return None
        return thread

    def _pack(self) -> None:
        self._packing.look()
        self._step = self._look()

    def _look(self) -> int:
        size = 0
        with if_possible():
            size = os.stat(self._path).st_size  # noqa: PTH116  often
        return int(math.log(size / LEAST_BYTES, _STEP)) + 1 if size >= LEAST_BYTES else 0
