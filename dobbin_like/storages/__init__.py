"""Storages that stand on others, or on nothing.

``memory`` (with ``memory_lock`` and ``memory_reading``): a log without a file;
``as_of``: a storage as of an earlier transaction; ``overlay``: commits in memory over a storage
that is only read.
"""
