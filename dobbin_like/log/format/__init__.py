"""Every byte of a log: the header page, frames, records, tables of names.

Turns fields into bytes and back, and does no I/O. Read :mod:`.record` first, together with
``doctests/format.rst``, which describes the format.
"""
