"""What is done with a log over the years: its past, and its care.

:class:`~dobbin_like.life.past.Past` and :class:`~dobbin_like.life.care.Care`
are the parts of a database that ask about the past and look after the log.
They hold the public methods; each other module here does one thing.
"""

from dobbin_like.life.feed import Change
from dobbin_like.life.history import Revision, TransactionRecord
from dobbin_like.life.states import ABSENT

__all__ = ["ABSENT", "Change", "Revision", "TransactionRecord"]
