"""Watching a database: in figures, of this process and of all that have its log open."""

from dobbin_like.log.counts import LogCounts
from dobbin_like.transactions.old_snapshots import OldSnapshot
from dobbin_like.watch.activity import Activity, LogUser, LogWatch
from dobbin_like.watch.stats import Stats

__all__ = ["Activity", "LogCounts", "LogUser", "LogWatch", "OldSnapshot", "Stats"]
