"""The disk tower: bytes, files and processes, and no object.

Read :mod:`dobbin_like.log.record` first, then header, lock, reader, recovery, writer and
transaction_log. The format of the file is described in ``doctests/format.rst``.
"""

from dobbin_like.log.errors import LogMovedError, NotHeldError
from dobbin_like.log.reader import Logged, Stored
from dobbin_like.log.record import ENTRY_SIZE
from dobbin_like.log.transaction_log import TransactionLog

__all__ = ["ENTRY_SIZE", "LogMovedError", "Logged", "NotHeldError", "Stored", "TransactionLog"]
