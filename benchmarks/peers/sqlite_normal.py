"""SQLite with ``synchronous = normal``, which its documentation recommends for write-ahead mode.

A power cut may take the last commits then, and leaves those before whole.
"""

from __future__ import annotations

from benchmarks.peers import sqlite


class Store(sqlite.Store):
    """See the package."""

    unsynced = "normal"
