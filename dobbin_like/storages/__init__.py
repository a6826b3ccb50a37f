"""Storages without a file: in memory, from nothing or over another storage."""

from dobbin_like.storages.memory import MemoryLog
from dobbin_like.storages.overlay import OverlayLog

__all__ = ["MemoryLog", "OverlayLog"]
