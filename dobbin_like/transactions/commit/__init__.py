"""The parts of a commit, which :mod:`dobbin_like.transactions.data_manager` puts together.

``joining.py`` comes before all: a thread takes part in a transaction. ``state.py`` has the phases
of its commit, the table of what may follow what, and the way from the decision to the end.
``before_lock.py`` does what takes long, ``lock.py`` begins to write, ``conflict_search.py`` finds
what others have committed since, and with ``unseen.py`` what they have appended at this moment.
``index_changes.py`` lets the indexes follow, ``annotations.py`` is what the log says of a
transaction beside its objects.
"""
