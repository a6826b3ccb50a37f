"""Writing to a log, under its commit lock: recovery, appending, durability.

:mod:`.writable` takes the lock and hands out the :mod:`.writer`; :mod:`.durability` brings what
is written to stable storage.
"""
