"""The demo: worker processes parse the Python standard library into one object graph.

``parse`` turns a file into facts, ``model`` has the persistent classes, ``workers`` stores the
facts of a file in a transaction, ``display`` shows it, ``questions`` are asked of the graph,
``run`` does all of it. Not part of the public interface.
"""
