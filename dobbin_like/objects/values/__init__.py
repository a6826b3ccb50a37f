"""The values in the state of an object: guarded in shared state, copied for a working copy.

Read ``refs.py`` first: what a database knows of an object. ``values.py`` copies and compares.
"""
