"""Writing to a log, under its commit lock: recovery, appending, durability.

:mod:`.writable` takes the lock and hands out the :mod:`.writer`, which catches up with what others
have :mod:`.appended`; :mod:`.durability` waits until what is written is on stable storage, where
:mod:`.syncing` brings it.
"""
