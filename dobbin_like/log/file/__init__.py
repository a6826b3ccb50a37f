"""The file of a log as the system has it: creation, locks, reads, writes and syncs.

Knows where the file is, and of its contents only the words of the header page, which all
processes share. :mod:`.log_file` is its main part, :mod:`.lock` the commit lock.
"""
