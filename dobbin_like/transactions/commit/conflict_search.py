"""Conflicts with what others have committed since the snapshot of a thread, or just appended.

It is merged with the changes of the thread, or the commit fails.
"""

from __future__ import annotations

from dobbin_like.contract import Transaction
from dobbin_like.exc import ConflictError
from dobbin_like.objects.faces.view import View
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.transactions.commit.state import BEGUN, REPLAYING, CommitState
from dobbin_like.transactions.commit.unseen import (
    may_conflict,
    see,
    see_with_lock,
    stored_again,
)
from dobbin_like.transactions.conflicts import find_conflicts
from dobbin_like.transactions.publisher import Publisher
from dobbin_like.transactions.replay import replay


class ConflictSearch:
    """Finds the conflicts of one thread's commits to one database, under the commit lock.

    ``had_conflict``: the last commit had one. ``failure`` is what the log will say of it.
    """

    def __init__(self, publisher: Publisher, view: View, state: CommitState) -> None:
        self.had_conflict: bool = False
        self.failure: str = ""
        self._publisher = publisher
        self._graph = publisher.graph
        self._shared = publisher.graph.shared
        self._view = view
        self._state = state

    def find(self) -> None:
        """Merge with what was committed since the snapshot; ConflictError: it is refused."""
        if self._publisher.unpublished is not None:
            self._publisher.catch_up()
        try:
            at = self._shared.tid  # Before: others may publish what they have appended.
            while torn := find_conflicts(self._graph, self._view):
                self._state.enter(REPLAYING)
                is_done = replay(self._graph, self._view, torn, at)
                self._state.enter(BEGUN)
                if is_done:
                    self._shared.counts.replays += len(torn)
                    return
                at = self._shared.tid
        except ConflictError as error:
            self.failure = f"conflict: {error.class_name} oid {error.oid}"
            self._note(error.class_name)
            raise

    def wait_for_unseen(self) -> None:
        """Catch up if there may be a conflict; wait for unseen transactions that may be in one."""
        if self._last_in_conflict() is None:
            return
        self._publisher.catch_up()
        last = self._last_in_conflict()
        if last is None:
            return
        see(self._publisher, last)
        self.find()
        last = self._last_in_conflict()
        if last is not None:
            # Others were first again: now they have to wait.
            see_with_lock(self._publisher, last)

    def _last_in_conflict(self) -> Transaction | None:
        """Return the last unseen transaction if any may be in conflict.

        ``unseen`` is read once: another thread may apply some of it meanwhile.
        """
        unseen, view = self._publisher.storage.unseen, self._view
        if unseen and (view.new_root is not None or may_conflict(unseen, view)):
            return unseen[-1]
        return None

    def refuse_stored_again(self, changes: Changes) -> None:
        """Refuse to store an object that a pack dropped and that others have just stored again."""
        error = stored_again(changes, self._view)
        if error is not None:
            self._note(error.class_name)
            raise error

    def _note(self, class_name: str) -> None:
        self._shared.counts.conflict(class_name)
        self.had_conflict = True
