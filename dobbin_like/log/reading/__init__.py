"""Reading a log: what is applied, the tail of others' commits, versions of objects, streams.

Needs no lock, and never writes. :mod:`.readable` is a log that only reads; :mod:`.reader` reads
a frame, :mod:`.log_index` has what an instance has applied, :mod:`.opening` builds that.
"""
