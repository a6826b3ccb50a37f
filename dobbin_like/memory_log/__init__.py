"""Storages without a file: in memory, from nothing or over another storage."""

from dobbin_like.memory_log.log import MemoryLog
from dobbin_like.memory_log.overlay import OverlayLog

__all__ = ["MemoryLog", "OverlayLog"]
