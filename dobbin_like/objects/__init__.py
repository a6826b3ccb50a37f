"""The memory tower: objects and threads, no files.

Each folder stands on those before it: ``values``, ``deltas``, ``faces``, ``codec``, ``graph``.
Read ``faces/base.py`` first, which has ``Persistent`` and ``checkout()``.
"""
