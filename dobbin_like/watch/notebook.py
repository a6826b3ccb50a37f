"""A database as a table of a notebook: what it is, and what is in it."""

from __future__ import annotations

from dobbin_like.objects.values.short import short
from dobbin_like.objects.values.tables import table
from dobbin_like.store import Store
from dobbin_like.texts import counted
from dobbin_like.timestamps import time_of


def page_of(store: Store) -> str:
    """Return what there is to say about a database as HTML. Cost: no object but the root."""
    storage = store.storage
    title = f"Database {storage.path}"
    if store.closed:
        return table(title, (), [("closed",)])
    tid = store.snapshot() or store.graph.shared.tid
    time = time_of(tid).astimezone().isoformat(" ", "milliseconds") if tid else "empty"
    rows = [
        ("root", short(store.get_root())),
        ("objects", f"{storage.oid_count:,}"),
        ("transactions", f"{len(storage):,}"),
        ("snapshot", f"{time} (tid {tid})" if tid else time),
    ]
    if pending := store.pending():
        rows.append(("changes", f"{counted(pending, 'object')} checked out, not committed"))
    if storage.read_only:
        rows.append(("for reading", storage.why_read_only))
    return table(title, (), rows)
