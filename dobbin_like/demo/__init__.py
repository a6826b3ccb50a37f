"""The demo: worker processes parse the Python standard library into one object graph.

One idea per file, from the ground up: ``parse`` turns a file into facts, ``model`` has the
persistent classes, ``store`` stores the facts of one file in one transaction, ``workers`` runs
processes that do so, ``display`` shows their progress, ``questions`` queries the finished graph,
``run`` does all of it. This package is not part of the public interface.
"""
