"""Files that a client has uploaded, as a framework hands them over."""

from __future__ import annotations

from typing import Any

from dobbin_like.persistent import PersistentFile

__all__ = ["stored_upload"]


def stored_upload(upload: Any) -> PersistentFile:
    """Return a file to be stored with the bytes of *upload*, from its start.

    They are copied now: most frameworks close what was uploaded before the commit. *upload* is a
    file, or what Flask, Starlette, FastAPI, Django or Pyramid make of one.
    """
    source = getattr(upload, "stream", None) or getattr(upload, "file", None) or upload
    source.seek(0)
    once: Any = _Once()
    once.read = source.read
    file = PersistentFile(once)
    file._p_spool(None)
    return file


class _Once:
    """What can be read once, and so is copied."""

    read: Any
