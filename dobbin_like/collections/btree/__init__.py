"""Sorted maps and sets in many records.

Read ``nodes.py`` first, the form of the tree; then ``tree.py``, which reads and changes it, and
``build.py``, which makes many nodes at once.
"""
