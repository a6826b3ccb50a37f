"""The disk tower: one file, its records, its lock, who tails and who mends it.

Knows bytes and processes, and no object. From the ground up: ``record`` and
``header`` (bytes), ``disk`` (system calls), ``file``, ``lock``, ``reader``,
``recovery``, ``mending``, ``writer``; whole in ``transaction_log``. The format is described
in ``doctests/format.rst`` and nowhere else.
"""

from dobbin_like.log.reader import Logged, Stored
from dobbin_like.log.record import ENTRY_SIZE
from dobbin_like.log.transaction_log import TransactionLog

__all__ = ["ENTRY_SIZE", "Logged", "Stored", "TransactionLog"]
