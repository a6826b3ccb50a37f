"""Ways to break the isolation of the store, one for each promise: see tests/test_isolation.py.

Each function changes the package in the process that calls it, for the rest of its life.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from dobbin_like.exc import ConflictError
from dobbin_like.log.writing.writer import Writer
from dobbin_like.objects.deltas.overlay import Overlay
from dobbin_like.objects.faces.working_copy import WorkingCopy
from dobbin_like.objects.graph.publication import SharedState
from dobbin_like.objects.values.refs import native_dict
from dobbin_like.transactions.commit import conflict_search
from dobbin_like.transactions.commit.conflict_search import ConflictSearch
from dobbin_like.transactions.commit.state import IDLE
from dobbin_like.transactions.data_manager import DataManager
from dobbin_like.transactions.publisher import Publisher
from dobbin_like.transactions.thread_view import ThreadView

_CHANCE = random.Random(1)


def _replace(cls: type, name: str, make: Callable[[Any], Any]) -> None:
    setattr(cls, name, make(getattr(cls, name)))


def conflicts_are_ignored() -> None:
    """Who commits writes over what others have committed since."""
    vars(conflict_search)["find_conflicts"] = lambda *_args: []


def unseen_conflicts_are_ignored() -> None:
    """What was appended before the own transaction, and not applied, counts as not there."""
    ConflictSearch._last_in_conflict = lambda *_args: None  # type: ignore[method-assign]
    ConflictSearch.refuse_stored_again = lambda *_args: None  # type: ignore[method-assign]
    Writer._are_changed = lambda *_args: False  # type: ignore[method-assign]


def news_come_after_conflicts() -> None:
    """Conflicts are looked for before what others have committed is applied."""
    find = ConflictSearch.find
    ConflictSearch.find = lambda *_args: None  # type: ignore[method-assign]

    def make(begin: Any) -> Any:
        def tpc_begin(self: DataManager, transaction: Any) -> None:
            find(self._conflicts)
            begin(self, transaction)

        return tpc_begin

    _replace(DataManager, "tpc_begin", make)


def only_changes_conflict() -> None:
    """What was checked out and not changed may have been changed by others."""
    find = vars(conflict_search)["find_conflicts"]

    def find_conflicts(graph: Any, view: Any) -> Any:
        unchanged = {key: copy for key, copy in view.working.items() if copy.changed() is None}
        for key in unchanged:
            del view.working[key]
        try:
            return find(graph, view)
        finally:
            view.working.update(unchanged)

    vars(conflict_search)["find_conflicts"] = find_conflicts


def views_stay() -> None:
    """A transaction that begins may have the snapshot of the one before."""

    def make(begin: Any) -> Any:
        def new_transaction(self: ThreadView, transaction: Any) -> None:
            if _CHANCE.random() < 0.5 or not self.view.active:
                begin(self, transaction)

        return new_transaction

    _replace(ThreadView, "newTransaction", make)


def own_commits_are_published_late() -> None:
    """A commit returns, and the other threads of its process do not see it at once."""

    def forget(self: Publisher, made: Any, *_args: Any) -> None:
        self.give_up(made.tid)  # It comes as news of others.

    Publisher.catch_up_to = forget  # type: ignore[method-assign]

    def make(begin: Any) -> Any:
        def new_transaction(self: ThreadView, transaction: Any) -> None:
            if _CHANCE.random() < 0.5:
                begin(self, transaction)
            else:
                self._shared.begin_view(self.view)

        return new_transaction

    _replace(ThreadView, "newTransaction", make)


def published_in_two_steps() -> None:
    """Of what another process has committed, a half is seen with the next transaction only."""

    def make(publish: Any) -> Any:
        def publish_foreign(self: SharedState, changed: Any, tid: Any) -> None:
            held = vars(self).pop("held", {})
            oids = sorted(changed)
            vars(self)["held"] = {oid: changed[oid] for oid in oids[1::2]}
            publish(self, {**held, **{oid: changed[oid] for oid in oids[::2]}}, tid)

        return publish_foreign

    _replace(SharedState, "publish_foreign", make)


def working_copies_leak() -> None:
    """Threads share the values that one of them is changing."""

    def make(own_value: Any) -> Any:
        def shared_value(self: WorkingCopy, name: str) -> Any:
            value = own_value(self, name)
            if not isinstance(value, Overlay):
                native_dict(self.obj)[name] = value
            return value

        return shared_value

    _replace(WorkingCopy, "own_value", make)


def aborts_commit() -> None:
    """What a transaction has changed is committed when it is aborted."""

    def make(abort: Any) -> Any:
        def commit(self: DataManager, transaction: Any) -> None:
            if self.view.working and self._state.phase is IDLE:
                with suppress(ConflictError):
                    for step in (self.tpc_begin, self.commit, self.tpc_vote, self.tpc_finish):
                        step(transaction)
            abort(self, transaction)

        return commit

    _replace(DataManager, "abort", make)


def commits_in_two_steps() -> None:
    """The first object is committed, and the others some time later."""

    def make(begin: Any) -> Any:
        def tpc_begin(self: DataManager, transaction: Any) -> None:
            working = self.view.working
            if len(working) > 1:
                later = dict(_shuffled(list(working.items()))[1:])
                for key in later:
                    del working[key]
                try:
                    begin(self, transaction)
                    for step in (self.commit, self.tpc_vote, self.tpc_finish):
                        step(transaction)
                finally:
                    working.update(later)
                time.sleep(0.01)
            begin(self, transaction)

        return tpc_begin

    _replace(DataManager, "tpc_begin", make)


def shown_late() -> None:
    """A commit returns, and other processes see it only when this one appends again."""

    def make(tell: Any) -> Any:
        def tell_end(self: Writer) -> None:
            if _CHANCE.random() < 0.9 or self._sync:
                tell(self)
                return
            self._sync, sync = True, self._sync
            try:
                tell(self)
            finally:
                self._sync = sync

        return tell_end

    _replace(Writer, "_tell_end", make)


def shown_early() -> None:
    """An end is told before the frame is there."""

    def make(write: Any) -> Any:
        def write_late(self: Writer, data: bytes) -> None:
            appended = self.appended
            place = appended.place
            if not self._sync and appended.shown >= appended.told:
                appended.place = place._replace(end=place.end + len(data))
                try:
                    self._tell_end()
                finally:
                    appended.place = place
                time.sleep(0.002)
            write(self, data)

        return write_late

    _replace(Writer, "_write", make)


def _shuffled(items: list[Any]) -> Sequence[Any]:
    return _CHANCE.sample(items, len(items))
