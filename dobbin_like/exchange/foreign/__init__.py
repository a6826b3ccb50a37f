"""Databases of other libraries as ours: ZODB, Durus, shelve.

Their objects are pickles, which are read without a class of the application. Read :mod:`.pickles`
(what is in one), :mod:`.kinds` (what becomes of their collections), :mod:`.mapping` (other names
for classes) and :mod:`.graph` (objects that refer to each other).
"""
