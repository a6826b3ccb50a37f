"""Every byte of a log: the header page, frames, records, tables of names.

Turns fields into bytes and back, and does no I/O. Read :mod:`.record` first, beside
``doctests/format.rst``, which tells the same for people.
"""
