"""Storages that stand on others, or on nothing.

``memory`` (with ``memory_lock`` and ``memory_reading``): a log without a file, and one over a
storage that is only read; ``as_of``: a storage as of an earlier transaction. ``applied``: what
``memory`` and ``postgres`` have in common.
"""
