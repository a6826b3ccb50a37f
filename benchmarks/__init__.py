"""Figures of the store beside those of plain Python, in the same run; see README.rst."""
