"""States to bytes and back, and which classes may be loaded (I9).

Read ``serialize.py`` first, the form of a state. ``classes.py`` has the numbers of classes,
``policy.py`` says which of them are loaded, ``instances/makers.py`` what the bytes may do with
those, ``instructions.py`` what they may not do at all.
"""
