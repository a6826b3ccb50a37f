"""``OverlayLog``: commits go to memory, over a storage that is only read.

What lies below is the base as of the moment when the overlay was made: the base may go
on growing, and the overlay does not show that.
"""

from __future__ import annotations

import itertools
import os
from typing import Final

from dobbin_like.contract import Storage
from dobbin_like.storages.as_of import AsOf
from dobbin_like.storages.memory import MemoryLog
from dobbin_like.storages.memory_reading import Shared

_FIRST_STREAM: Final = 1 << 62
"""Above every key of a stream in a file."""

_numbers = itertools.count(1)


class OverlayLog(MemoryLog):
    """A log in memory that goes on from where *base* is now; the base is only read.

    A database over it shows what the base has, and takes commits that the base never sees:
    for tests, previews, what-if. Oids, class numbers, tids, history, streams and the
    number of transactions go on from those of the base. :meth:`another` gives further
    instances over the same overlay; each ``OverlayLog(base)`` begins anew.

    Args:
        base: Any storage that is open; it stays the caller's, who closes it after the
            overlay. It may belong to a database, whose threads go on using it.
        lock_timeout: Seconds to wait for the commit lock; None: as long as it takes.

    Raises:
        ClosedError: The base is closed.

    Cost: Making one, that of :class:`.AsOf` without a moment. Reading what the overlay has not
    changed, a read of the base, and of the versions that the base was given since.
    """

    def __init__(self, base: Storage, *, lock_timeout: float | None = None) -> None:
        path = f"<overlay {next(_numbers)} over {base.path}>"
        # Another for each overlay: a key of one is none of another.
        first_stream = _FIRST_STREAM | int.from_bytes(os.urandom(4), "little") << 32
        shared = Shared(path, AsOf(base, None), first_stream)
        self._set_up(shared, lock_timeout=lock_timeout, read_only=False)
