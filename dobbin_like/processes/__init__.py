"""What a process has of its own: signals that interrupt it, threads, and what is open in it.

``interrupts`` is for every step that has to come to its end. Forks are dealt with where they
concern something: ``transactions/fork.py`` is the first to read.
"""
