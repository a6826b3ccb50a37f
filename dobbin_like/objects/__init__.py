"""The memory tower: objects and threads, no files. Read ``faces/base.py`` first."""
