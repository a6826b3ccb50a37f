"""Writing to a log, under its commit lock: recovery, appending, durability.

:mod:`.writable` takes the lock and hands out the :mod:`.writer`, which catches up with what others
have :mod:`.appended`; :mod:`.syncing` brings what is written to stable storage.
"""
