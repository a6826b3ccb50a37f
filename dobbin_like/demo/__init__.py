"""The demo: worker processes parse the Python standard library into one object graph.

One idea per file, from the ground up: ``parse`` turns a file into facts,
``model`` has the persistent classes, ``store`` makes one transaction of one
file, ``workers`` runs processes that do so, ``display`` shows what the log
tells about them, ``questions`` asks the finished graph, ``run`` is the whole.
Nothing here is part of the interface of the package.
"""
