"""What a transaction does, with the objects in memory and the storage below.

Read ``data_manager.py`` first: the two-phase commit, which has its parts in ``commit/``.
``thread_view.py`` begins and ends the snapshot of a thread, ``publisher.py`` applies transactions
and makes them visible.
"""
