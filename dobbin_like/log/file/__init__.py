"""The file of a log as the system has it: creation, the lock, reads, writes and syncs.

Knows where the file is, and not what is in it but for the words of the header page, which all
processes map. :mod:`.log_file` is its main part, :mod:`.lock` the commit lock.
"""
