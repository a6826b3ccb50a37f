"""Large collections in parts: a commit stores and publishes only what it has changed.

Read ``delta.py`` first, the stored form. ``layered.py`` is the shared form, ``overlay.py`` that of
a working copy.
"""
