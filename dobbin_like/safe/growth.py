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

from dobbin_like.upkeep.auto_pack import AutoPack

_LEAST_BYTES: Final = 1 << 16
_STEP: Final = 1.2


class Growth:
    """Watches one file. Any thread may report a write."""

    def __init__(self, path: str, limit: float) -> None:
        self.limit = limit
        self._path = path
        self._packing = AutoPack(path, limit)
        self._step = self._look()
        self._thread: threading.Thread | None = None

    def written(self) -> None:
        """Look at the size, and start a pack if necessary. Cost: a system call."""
        step = self._look()
        grown = step > self._step
        self._step = step
        if grown and (self._thread is None or not self._thread.is_alive()):
            thread = threading.Thread(target=self._pack, name=f"pack {self._path}")
            try:
                thread.start()
            except RuntimeError:  # Too many threads, or the interpreter is about to end.
                return
            self._thread = thread

    def join(self) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _pack(self) -> None:
        self._packing.look()
        self._step = self._look()

    def _look(self) -> int:
        try:
            size = os.stat(self._path).st_size  # noqa: PTH116  often
        except OSError:
            return 0
        return int(math.log(size / _LEAST_BYTES, _STEP)) + 1 if size >= _LEAST_BYTES else 0
