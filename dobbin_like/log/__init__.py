"""The disk tower: one file, its records, its lock, who tails and who mends it.

Knows bytes and processes, and no object. The format is described in ``doctests/format.rst``
and nowhere else. From the ground up:

* bytes: ``meta``, ``record`` and ``heads`` (frames), ``header`` (the first page and its
  words);
* the file: ``disk`` and ``status`` (system calls), ``file``, ``lock``, ``reader`` (frames
  of a window), ``stream``, ``positions`` (of the objects), ``class_table`` and
  ``known_names`` (of their classes), ``loader``;
* its end: ``redo``, ``recovery``, ``mending``, ``synced`` (what is on stable storage),
  ``saved`` (positions, for the next opening);
* its past: ``applied``, ``kept`` (files of before it was packed), ``walk``, ``history``;
* whole: ``readable``, ``encoded`` and ``writer``, ``locked``, ``transaction_log``;
* anew: ``packed_log`` is read, ``part`` and ``new_log`` written; ``copying``,
  ``snapshot_log``.
"""

from dobbin_like.log.format.record import ENTRY_SIZE
from dobbin_like.log.reading.reader import LoggedTransaction, LoggedVersion
from dobbin_like.log.transaction_log import TransactionLog

__all__ = ["ENTRY_SIZE", "LoggedTransaction", "LoggedVersion", "TransactionLog"]
