"""What a database tells of its past: transactions, revisions, changes as they come, undo."""

from dobbin_like.history.feed import Change
from dobbin_like.history.revisions import Revision, TransactionRecord
from dobbin_like.objects.values.short import ABSENT

__all__ = ["ABSENT", "Change", "Revision", "TransactionRecord"]
