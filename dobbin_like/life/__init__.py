"""What is done with a log over the years: its past, and its care.

:class:`~dobbin_like.life.past.Past`, :class:`~dobbin_like.life.find.Find` and
:class:`~dobbin_like.life.care.Care` are the parts of a database that ask about the past,
look through the objects and look after the log.
They hold the public methods; each other module here does one thing.
"""

from dobbin_like.life.census import Census, ClassCount
from dobbin_like.life.feed import Change
from dobbin_like.life.history import Revision, TransactionRecord
from dobbin_like.life.referrers import Referrer
from dobbin_like.life.states import ABSENT

__all__ = [
    "ABSENT",
    "Census",
    "Change",
    "ClassCount",
    "Referrer",
    "Revision",
    "TransactionRecord",
]
