"""Random walks of several threads and instances against a model of snapshot isolation.

The model is made of plain dicts: the history of the database is a list of
``{label: Version}``, an actor (a thread of a database instance) is an index
into it and a dict of what it has changed. Objects are known by labels, which
the model gives out; the oids are learned at commit. The test runs the threads
in lockstep, so the model always knows what each of them has to see, whether a
commit succeeds, and if not, with which error it fails.
"""

from __future__ import annotations

import copy
import gc
import importlib
import importlib.util
import queue
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from transaction.interfaces import NoTransaction, TransactionFailedError

from dobbin_like.database import Database
from dobbin_like.exc import ReadConflictError, RootError, SelfWaitError, WriteConflictError
from dobbin_like.objects.values.here import here
from dobbin_like.persistent import Persistent, checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.steps import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Threads end in the middle of what they change, which warns.
pytestmark = pytest.mark.filterwarnings("ignore:.* has ended with changes")

TIMEOUT_SECONDS = 60.0
MISSING = "<missing>"
DEFAULT_X = -1
NAMES = ("n", "x", "items", "table", "alias", "other", "links")
ROOT = 0


class Node(Persistent):
    x = DEFAULT_X

    def __init__(self, x: int) -> None:
        self.x = x
        self.items: list[Any] = []
        self.table: dict[Any, Any] = {}
        self.other: Any = None
        self.links: list[Any] = []


class Tally(Persistent):
    def __init__(self, n: int) -> None:
        self.n = n

    @staticmethod
    def _p_resolve_conflict(
        old: dict[str, Any], saved: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any]:
        return {**new, "n": saved["n"] + new["n"] - old["n"]}


# -- the model ----------------------------------------------------------------


class Ref(NamedTuple):
    """Stands in a state of the model for the object with that label."""

    label: int


State = dict[str, Any]


class Version(NamedTuple):
    """A committed state: at which place of the history it was made, by which instance."""

    state: State
    serial: int
    writer: int


Snapshot = dict[int, Version]


class Working:
    """What an actor has checked out."""

    def __init__(self, version: Version) -> None:
        self.base = version
        self.state: State = copy.deepcopy(version.state)

    @property
    def is_changed(self) -> bool:
        return is_changed(self.base.state, self.state)


def is_changed(base: State, state: State) -> bool:
    # By repr: 1 is not True, and the order of keys counts.
    if set(base) != set(state):
        return True
    return any(repr(base[name]) != repr(state[name]) for name in base)


def node_state(x: int) -> State:
    return {"x": x, "items": [], "table": {}, "other": None, "links": []}


def shown(state: State) -> State:
    """What reading all attributes gives."""
    found = {name: state.get(name, MISSING) for name in NAMES}
    if "n" not in state and found["x"] == MISSING:
        found["x"] = DEFAULT_X
    return found


def refs_in(value: Any) -> set[int]:
    match value:
        case Ref(label):
            return {label}
        case dict():
            return set().union(*map(refs_in, [*value, *value.values()]))
        case list():
            return set().union(*map(refs_in, value))
    return set()


# -- threads ------------------------------------------------------------------


class Worker:
    """A thread that does one thing at a time, when it is told to."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            function, arguments = order
            try:
                result, error = function(*arguments), None
            except BaseException as caught:
                result, error = None, caught
            self._results.put((result, error))
            del order, function, arguments, result, error

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._orders.put((function, arguments))
        result, error = self._results.get(timeout=TIMEOUT_SECONDS)
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        self._orders.put(None)
        self._thread.join(TIMEOUT_SECONDS)
        assert not self._thread.is_alive()


class Instance:
    """One open database, what of the history it has applied, and how it is opened again."""

    numbers = 0

    def __init__(self, path: Path, manager: Any, *, explicit: bool = False) -> None:
        self.path = path
        self.manager = manager
        self.explicit = explicit
        self.applied = 0
        self.number = 0
        self.db: Database

    def open(self, head: int) -> None:
        Instance.numbers += 1
        self.number = Instance.numbers
        self.manager.explicit = self.explicit  # that of the calling thread
        self.db = Database(TransactionLog(self.path, sync=False), transaction_manager=self.manager)
        self.applied = head


class Actor:
    """A thread with an instance: what it sees, what it has changed."""

    def __init__(self, worker: int, instance: Instance) -> None:
        self.worker = worker
        self.instance = instance
        self.attached = False
        self.snapshot: int | None = None
        self.joined = False
        self.working: dict[int, Working] = {}
        self.loose: dict[int, State] = {}
        self.loose_objects: dict[int, Any] = {}
        self.new_root: int | None = None
        self.kept: list[Any] = []
        self.savepoints: list[tuple[Any, Any]] = []

    @property
    def manager(self) -> Any:
        return self.instance.manager

    @property
    def explicit(self) -> bool:
        return self.instance.explicit

    def forget(self) -> None:
        self.joined = False
        self.working.clear()
        self.new_root = None
        self.savepoints.clear()


def append(holder: Any, n: int, ref: Any) -> None:
    holder.items.append(n)


def nest(holder: Any, n: int, ref: Any) -> None:
    holder.items.append({"k": [n], "r": ref})


def deep(holder: Any, n: int, ref: Any) -> None:
    nested = [item for item in holder.items if isinstance(item, dict)]
    if nested:
        nested[-1]["k"].append(n)


def pop(holder: Any, n: int, ref: Any) -> None:
    if holder.items:
        holder.items.pop(n % len(holder.items))


def set_key(holder: Any, n: int, ref: Any) -> None:
    holder.table[n % 5] = [n, ref]


def drop_key(holder: Any, n: int, ref: Any) -> None:
    holder.table.pop(n % 5, None)


def set_x(holder: Any, n: int, ref: Any) -> None:
    holder.x = n


def delete_x(holder: Any, n: int, ref: Any) -> None:
    if "x" in vars(holder):
        del holder.x


def alias(holder: Any, n: int, ref: Any) -> None:
    holder.alias = holder.items


def same(holder: Any, n: int, ref: Any) -> None:
    holder.x = holder.x  # written, but not changed


CHANGES = (append, nest, deep, pop, set_key, drop_key, set_x, delete_x, alias, same)
"""Change a persistent object, or a state of the model dressed as one, in place."""


class Attributes:
    """A state of the model that is changed as an object is."""

    x = DEFAULT_X

    def __init__(self, state: State) -> None:
        self.__dict__ = state


# -- the walk -----------------------------------------------------------------

ACTORS = st.integers(0, 7)
PICKS = st.integers(0, 30)
NUMBERS = st.integers(0, 20)


class SnapshotIsolation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name) / "data.log"
        self.workers = [Worker() for _ in range(3)]
        self.history: list[Snapshot] = [{}]
        self.tids: list[int] = [0]
        self.logged = 0
        self.labels = 0
        self.oids: dict[int, int] = {}
        self.always = False
        self.instances: list[Instance] = []
        self.actors: list[Actor] = []
        self.path = path

    # -- beginnings ---------------------------------------------------------

    @initialize(
        shared=st.booleans(), always=st.booleans(), with_root=st.sampled_from([True, True, False])
    )
    def set_up(self, shared: bool, always: bool, with_root: bool) -> None:
        self.always = always
        first = transaction.ThreadTransactionManager()
        second = first if shared else transaction.ThreadTransactionManager()
        third = transaction.ThreadTransactionManager()
        self.instances = [Instance(self.path, manager) for manager in (first, second)]
        self.instances.append(Instance(self.path, third, explicit=True))
        for instance in self.instances[:2]:
            self.actors += [Actor(number, instance) for number in range(3)]
        self.actors += [Actor(number, self.instances[2]) for number in range(2)]
        for instance in self.instances:
            self._open(instance)
        if with_root:
            actor = self.actors[0]
            root = self._create(actor, 1)
            self._elect(actor, root)
            for tally in (True, False):
                self._link(actor, root, self._create(actor, 2, tally=tally), many=True)
            self._commit(actor)

    def _open(self, instance: Instance) -> None:
        actors = [actor for actor in self.actors if actor.instance is instance]
        for actor in actors:
            actor.attached = False
            actor.snapshot = None
            actor.loose.clear()
            actor.loose_objects.clear()
            actor.kept.clear()
            actor.forget()
        actor = actors[0]
        self.workers[actor.worker](instance.open, self.head)
        self._attach(actor)

    @property
    def head(self) -> int:
        return len(self.history) - 1

    # -- what is seen ---------------------------------------------------------

    def _actor(self, number: int) -> Actor:
        actor = self.actors[number % len(self.actors)]
        self._attach(actor)
        return actor

    def _attach(self, actor: Actor) -> None:
        """The first use of a database by a thread begins its view."""
        if not actor.attached:
            self.workers[actor.worker](self._use, actor)
            actor.attached = True
            if not actor.explicit:
                actor.instance.applied = self.head
                actor.snapshot = self.head

    def _use(self, actor: Actor) -> None:
        actor.manager.explicit = actor.explicit
        assert actor.instance.db.root is None or actor.instance.db.root._p_oid == ROOT

    def _committed(self, actor: Actor) -> Snapshot:
        where = actor.instance.applied if actor.snapshot is None else actor.snapshot
        return self.history[where]

    def _view(self, actor: Actor) -> dict[int, State | None]:
        seen = self._committed(actor)
        view: dict[int, State | None] = {}
        for label in self.oids:
            if label in actor.working:
                view[label] = actor.working[label].state
            else:
                view[label] = seen[label].state if label in seen else None
        return view

    def _plain(self, actor: Actor, value: Any) -> Any:
        """Return what a value read from an object is in the model. Runs in the thread."""
        if isinstance(value, Persistent):
            oid = value._p_oid
            if oid is None or (oid == ROOT and actor.new_root is not None):
                found = [label for label, obj in actor.loose_objects.items() if obj is value]
                return Ref(found[0])
            return Ref(next(label for label, known in self.oids.items() if known == oid))
        if isinstance(value, dict):
            return {key: self._plain(actor, item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._plain(actor, item) for item in value]
        return value

    def _read(self, actor: Actor, obj: Any, *, by_dict: bool) -> State:
        if by_dict:
            return {name: self._plain(actor, value) for name, value in vars(obj).items()}
        return {name: self._plain(actor, getattr(obj, name, MISSING)) for name in NAMES}

    def _read_all(self, actor: Actor, by_dict: bool) -> Any:
        db = actor.instance.db
        found: dict[int, State | None] = {}
        serials: dict[int, int] = {}
        for label, oid in self.oids.items():
            obj = db.get(oid)
            if oid == ROOT and actor.new_root is not None:  # the other one, to be conflicted with
                assert obj is actor.loose_objects[actor.new_root]
                obj = None
            if obj is not None:
                serials[label] = obj._p_serial  # before the state is read
            found[label] = None if obj is None else self._read(actor, obj, by_dict=by_dict)
            if obj is not None:
                assert obj._p_oid == oid
                assert obj._p_jar is db
                assert db.get(oid) is obj
        return found, serials, len(db)

    def _check_view(self, actor: Actor, *, by_dict: bool = False) -> None:
        found, serials, count = self.workers[actor.worker](self._read_all, actor, by_dict)
        view = self._view(actor)
        expected = {
            label: state if state is None or by_dict else shown(state)
            for label, state in view.items()
        }
        assert found == expected
        assert repr(sorted(found)) == repr(sorted(expected))
        seen = self._committed(actor)
        for label, serial in serials.items():
            if label in actor.working:
                assert serial == self.tids[actor.working[label].base.serial]
            else:
                assert serial == self.tids[seen[label].serial]
        assert count == len(self.history[actor.instance.applied])

    @invariant()
    def every_view_is_that_of_the_model(self) -> None:
        if self.always:
            for actor in self.actors:
                if actor.attached:
                    self._check_view(actor)

    @rule(actor=ACTORS, by_dict=st.booleans())
    def look_at_everything(self, actor: int, by_dict: bool) -> None:
        self._check_view(self._actor(actor), by_dict=by_dict)

    @rule(actor=ACTORS, pick=PICKS, name=st.sampled_from(NAMES))
    def read_one_attribute(self, actor: int, pick: int, name: str) -> None:
        who = self._actor(actor)
        label = self._pick(who, pick)
        if label is None:
            return

        def read() -> Any:
            obj = self._object(who, label)
            return self._plain(who, getattr(obj, name, MISSING))

        state = self._state(who, label)
        assert self.workers[who.worker](read) == shown(state)[name]

    @rule(actor=ACTORS, pick=PICKS)
    def follow_links(self, actor: int, pick: int) -> None:
        """Touch what an object leads to, which may be a ghost, without asking for its oid."""
        who = self._actor(actor)
        label = self._pick(who, pick)
        if label is None or "other" not in self._state(who, label):
            return
        other = self._state(who, label)["other"]

        def read() -> Any:
            found = self._object(who, label).other
            return None if found is None else self._read(who, found, by_dict=False)

        found = self.workers[who.worker](read)
        assert found == (None if other is None else shown(self._state(who, other.label)))

    @rule(actor=ACTORS)
    def count_objects(self, actor: int) -> None:
        who = self._actor(actor)
        count = self.workers[who.worker](len, who.instance.db)
        assert count == len(self.history[who.instance.applied])

    @rule(actor=ACTORS, pick=PICKS)
    def keep_an_object_in_memory(self, actor: int, pick: int) -> None:
        who = self._actor(actor)
        label = self._pick(who, pick)
        if label is not None:
            who.kept.append(self.workers[who.worker](self._object, who, label))

    @rule()
    def drop_what_is_kept(self) -> None:
        for actor in self.actors:
            actor.kept.clear()
        gc.collect()

    def _labels(self, actor: Actor) -> list[int]:
        """What the actor can lead us to."""
        visible = [label for label, state in self._view(actor).items() if state is not None]
        return sorted({*visible, *actor.loose})

    def _pick(self, actor: Actor, pick: int) -> int | None:
        labels = self._labels(actor)
        return labels[pick % len(labels)] if labels else None

    def _object(self, actor: Actor, label: int) -> Any:
        """Return the object itself. Runs in the thread."""
        if label in actor.loose:
            return actor.loose_objects[label]
        return actor.instance.db.get(self.oids[label])

    def _state(self, actor: Actor, label: int) -> State:
        if label in actor.loose:
            return actor.loose[label]
        if label in actor.working:
            return actor.working[label].state
        return self._committed(actor)[label].state

    # -- changes ----------------------------------------------------------------

    @rule(actor=ACTORS, pick=PICKS)
    def check_out(self, actor: int, pick: int) -> None:
        who = self._actor(actor)
        label = self._pick(who, pick)
        if label is not None:
            self._checkout_visible(who, label)

    def _checkout_visible(self, actor: Actor, label: int) -> bool:
        def run() -> None:
            checkout(self._object(actor, label))

        if label not in actor.loose and actor.explicit and actor.snapshot is None:
            with pytest.raises(NoTransaction):
                self.workers[actor.worker](run)
            return False
        self.workers[actor.worker](run)
        if label not in actor.loose:
            actor.joined = True
            if label not in actor.working:
                actor.working[label] = Working(self._committed(actor)[label])
        return True

    @rule(
        actor=ACTORS,
        pick=PICKS,
        kind=st.sampled_from(CHANGES),
        n=NUMBERS,
        to=PICKS,
        first=st.booleans(),
    )
    def change(self, actor: int, pick: int, kind: Any, n: int, to: int, first: bool) -> None:
        """Change something, mostly after a checkout; without one it is refused."""
        who = self._actor(actor)
        label = self._pick(who, pick)
        other = self._pick(who, to)
        if label is None or other is None:
            return
        if (first or label in who.loose) and not self._checkout_visible(who, label):
            return
        self._change(who, label, kind, n, other)

    def _change(self, actor: Actor, label: int, kind: Any, n: int, other: int) -> None:
        state = self._state(actor, label)
        is_tally = "n" in state

        def run() -> None:
            obj = self._object(actor, label)
            if is_tally:
                obj.n = obj.n + n
            else:
                kind(obj, n, self._object(actor, other))

        if label in actor.loose or label in actor.working:
            self.workers[actor.worker](run)
            if is_tally:
                state["n"] += n
            else:
                kind(Attributes(state), n, Ref(other))
            return
        nothing = kind is pop and not state.get("items")
        if is_tally or not (nothing or kind is deep or (kind is delete_x and "x" not in state)):
            with pytest.raises(RuntimeError):
                self.workers[actor.worker](run)

    @rule(actor=ACTORS, pick=PICKS, to=PICKS, many=st.booleans())
    def link(self, actor: int, pick: int, to: int, many: bool) -> None:
        who = self._actor(actor)
        label, other = self._pick(who, pick), self._pick(who, to)
        if label is None or other is None or "n" in self._state(who, label):
            return
        if self._checkout_visible(who, label):
            self._link(who, label, other, many=many)

    def _link(self, actor: Actor, label: int, other: int, *, many: bool) -> None:
        def run() -> None:
            obj, found = self._object(actor, label), self._object(actor, other)
            if many:
                obj.links.append(found)
            else:
                obj.other = found

        self._checkout_visible(actor, label)
        self.workers[actor.worker](run)
        state = self._state(actor, label)
        if many:
            state["links"].append(Ref(other))
        else:
            state["other"] = Ref(other)

    @rule(actor=ACTORS, pick=PICKS)
    def drop_links(self, actor: int, pick: int) -> None:
        who = self._actor(actor)
        label = self._pick(who, pick)
        if label is None or "n" in self._state(who, label):
            return
        if not self._checkout_visible(who, label):
            return

        def run() -> None:
            obj = self._object(who, label)
            obj.other = None
            obj.links.clear()

        self.workers[who.worker](run)
        state = self._state(who, label)
        state["other"] = None
        state["links"].clear()

    @rule(actor=ACTORS, n=NUMBERS, tally=st.booleans(), pick=PICKS, linked=st.booleans())
    def create(self, actor: int, n: int, tally: bool, pick: int, linked: bool) -> None:
        who = self._actor(actor)
        if len(who.loose) >= 3 or len(self.oids) > 12:
            return
        target = self._pick(who, pick)
        label = self._create(who, n, tally=tally)
        if not linked or target is None or "n" in self._state(who, target):
            return
        if self._checkout_visible(who, target):
            self._link(who, target, label, many=False)

    def _create(self, actor: Actor, n: int, *, tally: bool = False) -> int:
        self.labels += 1
        cls = Tally if tally else Node
        actor.loose_objects[self.labels] = self.workers[actor.worker](cls, n)
        actor.loose[self.labels] = {"n": n} if tally else node_state(n)
        return self.labels

    @rule(actor=ACTORS, pick=PICKS)
    def elect_a_root(self, actor: int, pick: int) -> None:
        who = self._actor(actor)
        labels = sorted(who.loose)
        if not labels or (who.explicit and who.snapshot is None):
            return
        self._elect(who, labels[pick % len(labels)])

    def _elect(self, actor: Actor, label: int) -> None:
        obj = actor.loose_objects[label]

        def run() -> None:
            actor.instance.db.set_root(obj)

        root = next((known for known, oid in self.oids.items() if oid == ROOT), None)
        there = root is not None and root in self._committed(actor)
        if there or actor.new_root not in (None, label):
            with pytest.raises(RootError):
                self.workers[actor.worker](run)
            return
        self.workers[actor.worker](run)
        assert obj._p_oid == ROOT
        actor.joined = True
        actor.new_root = label

    # -- transactions -------------------------------------------------------------

    def _partners(self, actor: Actor) -> list[Actor]:
        """All that take part in the transactions of one manager in one thread."""
        return [
            other
            for other in self.actors
            if other.attached and other.worker == actor.worker and other.manager is actor.manager
        ]

    @rule(actor=ACTORS)
    def begin(self, actor: int) -> None:
        who = self._actor(actor)
        if who.explicit and who.snapshot is not None:
            self._abort(who)
        self.workers[who.worker](who.manager.begin)
        for partner in self._partners(who):
            partner.forget()
            partner.instance.applied = self.head
            partner.snapshot = self.head

    @rule(actor=ACTORS)
    def abort(self, actor: int) -> None:
        who = self._actor(actor)
        if not (who.explicit and who.snapshot is None):
            self._abort(who)

    def _abort(self, actor: Actor) -> None:
        self.workers[actor.worker](actor.manager.abort)
        self._after_failure(actor)

    def _after_failure(self, actor: Actor) -> None:
        for partner in self._partners(actor):
            partner.forget()
            if partner.explicit:
                partner.snapshot = None
            else:
                partner.instance.applied = self.head
                partner.snapshot = self.head

    @rule(actor=ACTORS)
    def commit(self, actor: int) -> None:
        who = self._actor(actor)
        if not (who.explicit and who.snapshot is None):
            self._commit(who)

    def _commit(self, actor: Actor) -> None:
        joined = [partner for partner in self._partners(actor) if partner.joined]
        joined.sort(key=lambda who: f"{id(who.instance.db._store.publisher):x}")
        error, recorded = self._outcome(joined)
        if error is None:
            self.workers[actor.worker](actor.manager.commit)
            if joined:
                self._apply(joined[0])
            for partner in self._partners(actor):
                partner.forget()
                partner.snapshot = None if partner.explicit else partner.instance.applied
            return
        with pytest.raises(error) as caught:
            self.workers[actor.worker](actor.manager.commit)
        assert type(caught.value) is error
        caught = None  # type: ignore[assignment]  # it holds frames, and they objects
        self.logged += recorded
        for partner in self._partners(actor):
            if partner in joined:
                partner.instance.applied = self.head
        self._after_failure(actor)
        for partner in self._partners(actor):
            self._check_view(partner)  # the winner's state, before abort()
        label = self._pick(actor, 0)
        if label is not None and label not in actor.loose:
            with pytest.raises(TransactionFailedError):
                self.workers[actor.worker](lambda: checkout(self._object(actor, label)))
        self._abort(actor)

    def _outcome(self, joined: list[Actor]) -> tuple[type[Exception] | None, int]:
        """Tell how the commit ends, and how many failed transactions it leaves in the log."""
        if not joined:
            return None, 0
        # The first of them has found its conflicts before the next one wants the lock.
        refused = self._conflicts(joined[0])
        if refused:
            return ReadConflictError if refused[0] else WriteConflictError, 1
        if len(joined) > 1:
            return SelfWaitError, 0
        return None, 0

    def _conflicts(self, actor: Actor) -> list[bool]:
        """For each conflict that is not resolved, tell whether another instance was faster."""
        newest = self.history[self.head]
        refused = []
        for label, working in actor.working.items():
            now = newest[label]
            resolved = "n" in now.state and working.is_changed
            if now.serial != working.base.serial and not resolved:
                refused.append(now.writer != actor.instance.number)
        root = next((known for known in newest if self.oids[known] == ROOT), None)
        if actor.new_root is not None and root is not None:
            first = next(snapshot for snapshot in self.history if root in snapshot)
            refused.append(first[root].writer != actor.instance.number)
        return refused

    def _apply(self, actor: Actor) -> None:
        """The commit of *actor* has succeeded: make it the newest of the history."""
        newest = self.history[self.head]
        number, writer = self.head + 1, actor.instance.number
        changed: dict[int, State] = {}
        for label, working in actor.working.items():
            if not working.is_changed:
                continue
            state = working.state
            now = newest[label]
            if now.serial != working.base.serial:
                n = now.state["n"] + state["n"] - working.base.state["n"]
                state = {**state, "n": n}
            changed[label] = state
        todo = set().union(*map(refs_in, changed.values())) & set(actor.loose)
        if actor.new_root is not None:
            todo.add(actor.new_root)
        while todo:
            label = todo.pop()
            changed[label] = actor.loose[label]
            todo |= (refs_in(changed[label]) & set(actor.loose)) - set(changed)
        actor.instance.applied = self.head
        if not changed:
            return
        self.logged += 1
        for label in set(changed) & set(actor.loose):
            obj = actor.loose_objects.pop(label)
            del actor.loose[label]
            oid = self.workers[actor.worker](lambda obj=obj: obj._p_oid)
            assert oid is not None
            assert oid not in self.oids.values()
            self.oids[label] = oid
        versions = {
            label: Version(copy.deepcopy(state), number, writer)
            for label, state in changed.items()
        }
        self.history.append({**newest, **versions})
        actor.instance.applied = self.head
        self.tids.append(actor.instance.db.storage.tid)
        assert self.tids[-1] > self.tids[-2]

    @rule(actor=ACTORS, pick=PICKS, kind=st.sampled_from(CHANGES), n=NUMBERS)
    def change_and_commit(self, actor: int, pick: int, kind: Any, n: int) -> None:
        who = self._actor(actor)
        label = self._pick(who, pick)
        if label is None or (who.explicit and who.snapshot is None):
            return
        self._checkout_visible(who, label)
        self._change(who, label, kind, n + 100, label)
        self._commit(who)

    @rule(
        first=ACTORS,
        second=ACTORS,
        pick=PICKS,
        kinds=st.tuples(st.sampled_from(CHANGES), st.sampled_from(CHANGES)),
    )
    def race(self, first: int, second: int, pick: int, kinds: tuple[Any, Any]) -> None:
        """Two want the same object; the first to commit wins."""
        actors = [self._actor(first), self._actor(second)]
        if actors[0] is actors[1]:
            return
        for actor, kind in zip(actors, kinds, strict=True):
            label = self._pick(actor, pick)
            if label is not None and self._checkout_visible(actor, label):
                self._change(actor, label, kind, first + 50, label)
        for actor in actors:
            if not (actor.explicit and actor.snapshot is None):
                self._commit(actor)

    @rule(actor=ACTORS)
    def make_a_savepoint(self, actor: int) -> None:
        who = self._actor(actor)
        if who.explicit and who.snapshot is None:
            return
        savepoint = self.workers[who.worker](who.manager.savepoint)
        saved = {
            partner: (
                partner.joined,
                {
                    label: (working, copy.deepcopy(working.state))
                    for label, working in partner.working.items()
                },
                partner.new_root,
            )
            for partner in self._partners(who)
        }
        for partner in self._partners(who):
            partner.savepoints.append((savepoint, saved))

    @rule(actor=ACTORS, pick=st.integers(0, 3))
    def roll_back(self, actor: int, pick: int) -> None:
        who = self._actor(actor)
        if not who.savepoints:
            return
        index = pick % len(who.savepoints)
        savepoint, saved = who.savepoints[index]
        self.workers[who.worker](savepoint.rollback)
        for partner in self._partners(who):
            joined, working, new_root = saved.get(partner, (False, {}, None))
            partner.joined = joined
            partner.working = {}
            for label, (copied, state) in working.items():
                copied.state = copy.deepcopy(state)
                partner.working[label] = copied
            partner.new_root = new_root
            del partner.savepoints[index + 1 :]
        # New objects are nobody's yet: the model takes what it finds.
        for other in self.actors:
            if other.worker == who.worker:
                self.workers[who.worker](self._learn_loose, other)

    def _learn_loose(self, actor: Actor) -> None:
        for label, obj in actor.loose_objects.items():
            actor.loose[label] = self._read(actor, obj, by_dict=True)

    # -- ends -----------------------------------------------------------------------

    @rule(number=st.integers(0, 2))
    def close_and_open_again(self, number: int) -> None:
        instance = self.instances[number]
        for actor in self.actors:
            idle = actor.explicit and actor.snapshot is None
            if actor.attached and actor.manager is instance.manager and not idle:
                self._abort(actor)
        self.workers[0](instance.db.close)
        self._open(instance)

    @rule(number=st.integers(0, 2))
    def let_a_thread_die(self, number: int) -> None:
        """Whatever it was doing is dropped, and leaves nothing behind."""
        self.workers[number].end()
        for actor in self.actors:
            if actor.worker == number:
                actor.attached = False
                actor.snapshot = None
                actor.loose.clear()
                actor.loose_objects.clear()
                actor.forget()
        self.workers[number] = Worker()
        gc.collect()

    def teardown(self) -> None:
        try:
            if self.actors:
                self._end_all()
        finally:
            for worker in self.workers:
                worker.end()
            for instance in self.instances:
                instance.db.close()
            self.directory.cleanup()

    def _end_all(self) -> None:
        for actor in self.actors:
            self._attach(actor)
            if not (actor.explicit and actor.snapshot is None):
                self._abort(actor)
            self._check_view(actor, by_dict=True)
        # Once more: reading may have loaded ghosts into the views of the others.
        for actor in self.actors:
            if not actor.explicit:
                self._abort(actor)
        gc.collect()
        for actor in self.actors:
            assert self.workers[actor.worker](lambda: dict(here.own_memo)) == {}
        for instance in self.instances:
            assert_nothing_is_masked(instance.db)
            check(instance.db)
        with Database(
            TransactionLog(self.path, sync=False),
            transaction_manager=transaction.TransactionManager(),
        ) as db:
            assert len(db.storage) == self.logged
            assert len(db) == len(self.oids)
            for label, version in self.history[-1].items():
                obj = db.get(self.oids[label])
                assert self._read(self.actors[0], obj, by_dict=True) == version.state


def assert_nothing_is_masked(db: Database) -> None:
    graph = db._store.graph
    for entry in graph.cache.all():
        obj = entry()
        assert entry.mask is None
        if obj is not None:
            faces = type(obj)._p_faces
            assert type(obj) in (faces.plain, faces.ghost)
    assert len(graph.shared.masked) == 0
    assert set(graph.shared.horizon.snapshots.values()) <= {graph.shared.tid}


def check(db: Database) -> None:
    """Check all invariants of an open database."""
    if importlib.util.find_spec("dobbin_like.check") is not None:
        importlib.import_module("dobbin_like.check").check_database(db).raise_if_bad()


@pytest.fixture(autouse=True)
def _only_its_own_garbage_is_collected() -> Iterator[None]:
    """Each walk collects garbage many times: not that of all tests that ran before."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


TestSnapshotIsolation = SnapshotIsolation.TestCase
# A walk is fifty steps.
TestSnapshotIsolation.settings = settings(max_examples=settings.default.max_examples * 2 // 5)


# -- what walks have found -------------------------------------------------------


def test_the_serial_in_an_older_view_is_that_of_its_own_version(path: Path) -> None:
    """Asked for first, before the older version had been read, it was that of the newest."""
    writer, reader = (
        Database(
            TransactionLog(path, sync=False),
            transaction_manager=transaction.ThreadTransactionManager(),
        )
        for _ in range(2)
    )
    root = Node(1)
    checkout(root)
    root.other = Node(2)
    writer.set_root(root)
    writer.transaction_manager.commit()
    before = root.other._p_serial
    reader.transaction_manager.begin()
    ghost = reader.root.other

    checkout(root.other)
    root.other.x = 3
    writer.transaction_manager.commit()
    assert in_thread(lambda: (reader.root.other.x, ghost._p_serial)) == (
        3,
        root.other._p_serial,
    )

    assert ghost._p_serial == before
    assert ghost.x == 2
    reader.close()
    writer.close()


def test_what_is_read_between_explicit_transactions_is_the_newest(path: Path) -> None:
    """The snapshot of the transaction before was shown while another view kept a mask on."""
    manager = transaction.ThreadTransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=manager) as db:
        root = Node(1)
        db.set_root(root)
        manager.commit()
        older = Worker()
        older(lambda: db.root.x)
        manager.explicit = True
        manager.begin()
        assert root.x == 1
        manager.commit()

        def change() -> None:
            checkout(db.root)
            root.x = 2
            manager.commit()

        in_thread(change)

        assert older(lambda: root.x) == 1
        assert root.x == 2
        older.end()
