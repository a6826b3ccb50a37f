"""The local cache of a log in PostgreSQL: a file with copies of its states.

``cache_file.py`` has the file, and ``update.py`` brings it to where the log is.
"""
