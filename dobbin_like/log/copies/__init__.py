"""Logs that are written as a whole: by packing, backups and snapshots.

:mod:`.new_log` writes one, frame by frame; :mod:`.packed_log` is what a log becomes.
"""
