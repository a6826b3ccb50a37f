"""What packs are for a log in PostgreSQL.

``packing.py`` has the steps of one, ``pins.py`` the snapshots that it keeps, ``existing.py`` what
an instance knows of the objects that packs have dropped.
"""
