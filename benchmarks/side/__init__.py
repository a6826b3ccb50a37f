"""Side by side: the same work done by this package, by its peers, and by what limits them all.

``workloads`` has the list of what is measured, ``tasks`` what a process of its own does for one
figure, ``together`` what several processes do at once. ``runner`` lets the peers take turns, and
``results`` keeps what they took in a file, of which ``page`` makes ``docs/benchmarks``.
"""
