"""What takes long in a commit, and is done before the lock is taken: others need not wait."""

from __future__ import annotations

import importlib

from dobbin_like.objects.faces.stream import slow_files
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.objects.graph.spool import spool_slow_files
from dobbin_like.transactions.publisher import Publisher


def do_slow_steps(publisher: Publisher, view: View) -> None:
    """Do for a commit of *view* what needs no lock."""
    graph = publisher.graph
    if graph.guard == "check":
        from dobbin_like.objects.graph.changed_values import check_shared_values

        check_shared_values(graph)
    if slow_files:
        roots = [] if view.new_root is None else [view.new_root[0]]
        spool_slow_files(view.working.values(), roots, publisher.storage.path)
    if graph.indexed:
        get_ready(graph)


def get_ready(graph: Graph) -> None:
    """Import what keeps indexes, also before the commit lock is taken early.

    In a child that was forked while another thread imported it, the import would wait forever.
    """
    if graph.keeper is None:
        importlib.import_module("dobbin_like.indexes.kept.keeper")
