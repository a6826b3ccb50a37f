"""The classes that are generated for each persistent class; see "Faces" in the architecture.

Read ``base.py`` first: ``Persistent``, ``checkout()`` and what each face answers, as ``lookup.py``
finds it. ``classes/`` makes them of a program's class, ``view.py`` is the snapshot of a thread.
"""
