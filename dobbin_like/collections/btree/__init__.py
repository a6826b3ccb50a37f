"""Sorted maps and sets in many records.

Read ``nodes.py`` first, the form of the tree; then ``tree.py``, which reads it, ``change.py``,
which changes it, and ``build.py``, which makes many nodes at once.
"""
