"""The parts of a commit, which :mod:`dobbin_like.transactions.data_manager` puts together.

``joining.py`` comes first: a thread joins a transaction. ``state.py`` has the phases of its
commit, the table of what may follow what, and the steps from the decision to the end.
``before_lock.py`` does what takes long, ``lock.py`` takes the commit lock, ``conflict_search.py``
finds conflicts with what others have committed since, and ``unseen.py`` with what they have
appended and is not visible yet. ``index_changes.py`` updates the indexes, ``annotations.py`` has
what the log stores of a transaction besides its objects.
"""
