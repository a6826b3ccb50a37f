"""Parts of packing: ``report.py`` is what every pack takes and tells.

``rows.py`` packs a log in PostgreSQL; a file is packed by :mod:`dobbin_like.upkeep.pack`.
"""
