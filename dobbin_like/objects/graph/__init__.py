"""The objects of one database in memory: versions for readers, publication of commits.

Read ``publication.py`` first: how a commit becomes visible; ``masks.py`` has the masks that older
snapshots need. ``resolve.py`` finds the version that a thread sees, ``changes.py`` collects what a
commit writes.
"""
