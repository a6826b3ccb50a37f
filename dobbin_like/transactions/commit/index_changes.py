"""What a commit changes in the indexes, and what it has to wait for before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dobbin_like.objects.faces.view import View
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.objects.graph.graph import Graph
from dobbin_like.transactions.commit.state import BEGUN, REPLAYING, CommitState
from dobbin_like.transactions.commit.unseen import see_with_lock
from dobbin_like.transactions.publisher import Publisher

if TYPE_CHECKING:
    from dobbin_like.indexes.kept.keeper import Keeper


def keeper_of(graph: Graph, view: View) -> Keeper:
    """Return what keeps the indexes of *graph*, for a commit of *view*."""
    from dobbin_like.indexes.kept.keeper import Keeper

    keeper: Keeper = graph.keeper or Keeper(graph)
    graph.keeper = keeper
    keeper.keep_attribute(view)
    return keeper


def keep_indexes(
    keeper: Keeper,
    changes: Changes,
    publisher: Publisher,
    view: View,
    state: CommitState,
) -> list[WorkingCopy]:
    """Add what *changes* change in the indexes; return what was checked out for it."""
    storage = publisher.storage
    if storage.unseen:
        publisher.catch_up()  # What is visible can be applied at once.
    unseen = storage.unseen
    if unseen and keeper.is_changed_by(unseen):
        see_with_lock(publisher, unseen[-1])
    updates = keeper.updates(changes, view)
    if not updates:
        return []
    if unseen:
        see_with_lock(publisher, unseen[-1])  # All of them may have changed the same entries.
    before = set(view.working)
    state.enter(REPLAYING)
    keeper.apply(updates, view, state.snapshot)
    state.enter(BEGUN)
    in_indexes = [working for key, working in view.working.items() if key not in before]
    for working in in_indexes:
        changes.add(working)
    changes.add_reachable()
    return in_indexes
