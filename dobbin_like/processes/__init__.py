"""What a process has of its own: threads that the package starts, and what is open in it.

Forks are dealt with where they concern something: ``transactions/fork.py`` is the first to read.
"""
