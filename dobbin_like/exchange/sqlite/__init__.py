"""A database as tables of SQLite, kept up to date by what is committed.

A table for each class, a row for each object, a column for each attribute; references are
foreign keys. Read :mod:`.tables` (the schema), :mod:`.rows` (an object as rows) and
:mod:`.mirror` (the file, and how it follows).
"""
