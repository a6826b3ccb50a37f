"""Databases as files of other kinds, and the other way round.

Read :mod:`.source` (what is exported) and :mod:`.new_database` (what an import writes). No class
of an application is needed or loaded: stand-ins keep what is stored of their values.
"""
