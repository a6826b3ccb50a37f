"""Automatic packing, when too large a share of a file is garbage.

A thread looks at the size of the file now and then. What was needed the last time tells how large
the file has to be before too large a share can be garbage. Only then it is read, and packed if the
share is above the limit. Errors are logged and go no further.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from dobbin_like.exc import ClosedError, Error, PackError, PackRunningError, ReadOnlyStorageError
from dobbin_like.log import TransactionLog
from dobbin_like.mistaken.arguments import wrong_type
from dobbin_like.processes.refusals import if_possible
from dobbin_like.store import Store
from dobbin_like.upkeep.pack import pack_file, sweep_after_pack
from dobbin_like.upkeep.packs.report import PackReport

_logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
LEAST_BYTES: Final = 1 << 17
"""Files that are smaller are left alone: up to 64 KiB may be written ahead of a log."""

_LATER: Final = 1.2
"""The factor by which the file has to grow after a failed attempt."""


def auto_pack(store: Store, limit: float) -> AutoPack:
    """Return an :class:`AutoPack` for the log of a store. It is to be started.

    PackError: it has no file, or *limit* is not between 0 and 1.
    """
    storage = store.storage
    if storage.read_only:
        raise ReadOnlyStorageError(storage.path, "the log was opened with read_only=True")
    if not isinstance(storage, TransactionLog):
        instead = "; let a timer call pack()" if hasattr(type(storage), "packing") else ""
        raise PackError(storage.path, f"{type(storage).__name__} has no file{instead}")
    after = partial(sweep_after_pack, store)
    return AutoPack(storage.path, limit, after, storage)


class AutoPack:
    """Packs one log when at least the share *limit* of its bytes is garbage.

    Every process that opens the log may have one; only one of them packs at a time. *after* is
    called when it has packed. *opened_as* has the log open: another one at the path is not packed.
    """

    def __init__(
        self,
        path: str,
        limit: float,
        after: Callable[[], object] = lambda: None,
        opened_as: TransactionLog | None = None,
    ) -> None:
        given: object = limit
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            raise wrong_type(limit, "pack_when", "a share, as 0.5")
        if not 0 < limit < 1:
            reason = f"pack_when={limit!r} is no share of a file: give one between 0 and 1"
            raise PackError(path, reason)
        self._path = path
        self.limit = limit
        self._after = after
        self._opened_as = opened_as
        self._pid = os.getpid()
        self._size = 0  # When it was looked at last, in bytes.
        self._look_at = LEAST_BYTES
        self._refused = False  # And that was told.
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"pack {path}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End; a running pack is given up, and the log stays as it is."""
        if os.getpid() != self._pid:  # Of a child that was forked, the thread is not there.
            return
        self._stopped.set()
        # An interrupt may have kept start() from it; what begins then ends at once.
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        # An interrupt may have kept close() from stopping it.
        while not (self._stopped.wait(_LOOK_SECONDS) or self._is_closed()):
            self.look()

    def _is_closed(self) -> bool:
        return self._opened_as is not None and self._opened_as.closed

    def look(self) -> PackReport | None:
        """Pack if it is time; return the report, None if the file was not read or not packed."""
        size = 0
        with if_possible():
            size = os.stat(self._path).st_size  # noqa: PTH116  often
        if not size:  # Nothing was committed yet, or it is being moved.
            return None
        if size < self._size:  # Another process has packed it: nearly all is needed.
            self._needed(size)
        self._size = size
        if size < self._look_at:
            return None
        self._look_at = int(size * _LATER)
        try:
            report = self._pack()
        except (PackRunningError, InterruptedError, ClosedError):
            return None
        except PackError as error:
            # It will be the same the next time, unless somebody changes the place of the file.
            self._look_at = 2 * size
            level, self._refused = (logging.DEBUG if self._refused else logging.WARNING), True
            _logger.log(level, "%s: could not be packed: %s", self._path, error)
            return None
        except (Error, OSError) as error:
            _logger.warning("%s: could not be packed: %s", self._path, error)
            return None
        except Exception:
            _logger.exception("%s: could not be packed", self._path)
            return None
        # What was committed meanwhile may already be garbage.
        self._needed(report.after.bytes - report.later_bytes)
        _logger.log(logging.INFO if report.packed else logging.DEBUG, "%s", report)
        return report

    def _pack(self) -> PackReport:
        report = pack_file(
            self._path,
            least_garbage=self.limit,
            stopping=self._stopped.is_set,
            opened_as=self._opened_as,
        )
        if report.packed:
            self._after()
        return report

    def _needed(self, size: int) -> None:
        """Look again when the file is so large that *size* may be too small a share of it."""
        self._size = 0
        self._look_at = max(LEAST_BYTES, int(size / (1 - self.limit)) + 1)
