"""The upkeep of a store: packing, backups, snapshots, preloading, renames and migrations.

Functions that take a store; :class:`dobbin_like.database.Database` has them as methods. Packing
is in :mod:`.pack` (the steps), :mod:`.pack_plan` (what is kept), :mod:`.pack_copy` (the copy and
the switch), :mod:`.throttle` (giving way to committers) and :mod:`.auto_pack`.
"""
