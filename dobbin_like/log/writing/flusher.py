"""Bring to stable storage, a second later, what an instance without sync has committed.

What is committed without sync is visible at once. A power cut may lose it until the system writes
it, which takes up to half a minute. Syncing a second later is soon enough, and costs next to
nothing if a program commits often.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from dobbin_like.processes.threads import start_thread

__all__ = ["Flusher"]

_logger = logging.getLogger(__name__)

_DELAY_SECONDS: Final = 1.0


class Flusher:
    """Calls *sync* a second after it is told to, in a thread of its own. Any thread."""

    def __init__(self, path: str, sync: Callable[[], object]) -> None:
        self._path = path
        self._sync = sync
        self._timer: threading.Timer | None = None

    def wake(self) -> None:
        """Start the thread unless there is one; two, at most, if two threads call this at once."""
        if self._timer is None:
            timer = threading.Timer(_DELAY_SECONDS, self._run)
            timer.name = f"sync {self._path}"
            timer.daemon = True
            try:
                self._timer = timer  # Before it runs, so that a later commit starts another one.
                if not start_thread(timer):  # Then close() syncs, or the system.
                    self._timer = None
            except BaseException:  # An interrupt: the thread may run, or not.
                self._timer = None
                raise

    def stop(self) -> None:
        """Start no more threads; do not wait for one.

        It may wait for this thread, if a signal handler closes the log.
        """
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def after_fork_in_child(self) -> None:
        """Forget the thread, which is in the parent."""
        self._timer = None

    def _run(self) -> None:
        self._timer = None  # What is committed from here on wakes it again.
        try:
            self._sync()
        except Exception as error:  # noqa: BLE001  nobody else is there to be told
            _logger.critical("%s: not brought to stable storage: %s", self._path, error)
