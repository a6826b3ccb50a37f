"""The disk tower: one log file, its records, its locks, how it is read, written and repaired.

Knows bytes and processes, and no object. The format is described in ``doctests/format.rst``
and nowhere else. From the ground up:

* ``format``: bytes to frames and back, the header page and its words;
* ``file``: system calls, the open file, its words and its locks;
* ``reading``: single frames, the chain of frames and its end, streams, the positions of the
  objects, what is applied, the past, the files from before a pack;
* ``writing``: which instances may write, recovery, appending, one sync for many commits;
* ``copies``: logs that are written as a whole.
"""

from dobbin_like.log.format.record import ENTRY_SIZE
from dobbin_like.log.reading.reader import LoggedTransaction, LoggedVersion
from dobbin_like.log.transaction_log import TransactionLog

__all__ = ["ENTRY_SIZE", "LoggedTransaction", "LoggedVersion", "TransactionLog"]
