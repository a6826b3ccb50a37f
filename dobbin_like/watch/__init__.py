"""Watching a database: in figures."""

from dobbin_like.log.counts import LogCounts
from dobbin_like.transactions.old_snapshots import OldSnapshot
from dobbin_like.watch.stats import Stats

__all__ = ["LogCounts", "OldSnapshot", "Stats"]
