"""Random transactions of several threads and instances, against a model of the rule of merging."""

from __future__ import annotations

import copy
import dataclasses
import os
import queue
import random
import threading
from functools import partial
from typing import Any

import pytest
import transaction

from dobbin_like.database import Database
from dobbin_like.exc import ConflictError
from dobbin_like.objects.deltas import layered, overlays
from dobbin_like.persistent import PersistentDict, PersistentList, PersistentSet, checkout

ACTORS = 3
STEPS = 150
SEEDS = range(int(os.environ.get("SEEDS", "24")))
ACTIONS = ("change", "look", "save", "roll_back", "commit", "begin")
WEIGHTS = (60, 10, 5, 5, 17, 3)
NAMES = ("dict", "set", "list")


class NotedDict(dict[Any, Any]):
    """A dict that notes which keys were set, or asked to go, however they were before."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.touched: set[Any] = set()

    def __setitem__(self, key: Any, value: Any) -> None:
        self.touched.add(key)
        super().__setitem__(key, value)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        self.touched.add(key)
        return super().setdefault(key, default)

    def update(self, items: dict[Any, Any]) -> None:
        self.touched.update(items)
        super().update(items)

    def __deepcopy__(self, memo: Any) -> Any:
        made = NotedDict(copy.deepcopy(dict(self), memo))
        made.touched = {*self.touched}
        return made


class NotedSet(set[Any]):
    """A set that notes the same."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.touched: set[Any] = set()

    def add(self, item: Any) -> None:
        self.touched.add(item)
        super().add(item)

    def discard(self, item: Any) -> None:
        self.touched.add(item)
        super().discard(item)

    def update(self, items: Any) -> None:
        members = {*items}
        self.touched |= members
        super().update(members)

    def difference_update(self, items: Any) -> None:
        self.touched.update(items)
        super().difference_update(items)

    def symmetric_difference_update(self, items: Any) -> None:
        self.touched.update(items)
        super().symmetric_difference_update(items)

    def __deepcopy__(self, memo: Any) -> Any:
        made = NotedSet(self)
        made.touched = {*self.touched}
        return made


class NotedList(list[Any]):
    """A list that notes whether it was to be changed otherwise than by appending."""

    touched = False

    def insert(self, *args: Any) -> None:
        self.touched = True
        super().insert(*args)

    def pop(self, *args: Any) -> Any:
        self.touched = True
        return super().pop(*args)

    def __setitem__(self, *args: Any) -> None:
        self.touched = True
        super().__setitem__(*args)

    def reverse(self) -> None:
        self.touched = True
        super().reverse()

    def __deepcopy__(self, memo: Any) -> Any:
        made = NotedList(copy.deepcopy([*self], memo))
        made.touched = self.touched
        return made


class Actor:
    """A thread with its transactions, and what the model says that it sees."""

    def __init__(self, database: Database, model: Model) -> None:
        self.database = database
        self.model = model
        self.base: dict[str, Any] = {}
        self.mine: dict[str, Any] = {}
        self.serials: dict[str, int] = {}
        self.out: dict[str, bool] = {}
        self.point: Any = None
        self.aliased = False  # One value in two places, of which one was changed.
        self._todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (function := self._todo.get()) is not None:
            try:
                self._done.put((function(), None))
            except BaseException as error:
                self._done.put((None, error))

    def do(self, function: Any) -> Any:
        """Run *function* in the thread."""
        self._todo.put(function)
        result, error = self._done.get(timeout=60)
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        self.do(transaction.abort)
        self._todo.put(None)
        self._thread.join()

    # -- in the thread -----------------------------------------------------------------

    def begin(self) -> None:
        transaction.begin()
        self.base = copy.deepcopy(self.model.state)
        self.mine = copy.deepcopy(self.model.state)
        self.mine["dict"] = NotedDict(self.mine["dict"])
        self.mine["set"] = NotedSet(self.mine["set"])
        self.mine["list"] = NotedList(self.mine["list"])
        self.noted = False
        self.serials = dict(self.model.serials)
        self.out = {}
        self.point = None
        self.aliased = False
        self.look()

    def look(self) -> None:
        root = self.database.root
        for name in NAMES:
            found, expected = root[name], self.mine[name]
            assert len(found) == len(expected), name
            assert found == expected, name
            if name == "dict":
                assert list(found) == list(expected)
                assert list(reversed(found)) == list(reversed(expected))
        assert root["dict"].__dict__.get("note") == self.mine["note"]

    def change(self, rng: random.Random) -> None:
        name = rng.choice(NAMES)
        target, mine = self.database.root[name], self.mine[name]
        exclusive = rng.random() < 0.05
        checkout(target, exclusive=exclusive)
        self.out[name] = self.out.get(name, False) or exclusive
        if name == "dict" and rng.random() < 0.1:
            kept = self.mine["note"] is not None and rng.random() < 0.5
            self.mine["note"] = self.mine["note"] if kept else rng.randrange(100)
            self.noted = True
            target.note = self.mine["note"]
            return
        step = rng.choice(CHANGES[name])
        seed = rng.random()
        self.aliased = self.aliased or step is again
        results = [outcome(step, one, random.Random(seed)) for one in (target, mine)]
        assert results[0] == results[1], step

    def save(self) -> None:
        self.point = (
            transaction.savepoint(),
            copy.deepcopy(self.mine),
            dict(self.out),
            self.noted,
        )

    def roll_back(self) -> None:
        if self.point is not None:
            self.point[0].rollback()
            self.mine = copy.deepcopy(self.point[1])
            # Objects that were checked out since are not any more.
            self.out = {name: self.out[name] for name in self.point[2]}
            self.noted = self.point[3]

    def commit(self) -> None:
        """Commit; it is a conflict if the model says so."""
        merged = self.model.merged(self)
        try:
            transaction.commit()
        except ConflictError:
            transaction.abort()
            assert merged is None or self.aliased, "a conflict that the rule does not know"
        else:
            assert merged is not None, "a conflict that was not found"
            self.model.commit(self, merged)
        self.begin()


class Model:
    """What is committed, and when each part was last changed."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state
        self.serials = dict.fromkeys(NAMES, 0)
        self.commits = 0

    def merged(self, actor: Actor) -> dict[str, Any] | None:
        """Return the next state of what *actor* changes, ``None`` if that is a conflict."""
        found: dict[str, Any] = {}
        for name, exclusive in actor.out.items():
            base, mine, now = actor.base[name], actor.mine[name], self.state[name]
            note = actor.mine["note"] != actor.base["note"] and name == "dict"
            is_changed = note or not same(base, mine)
            if actor.serials[name] == self.serials[name]:
                if is_changed:
                    found[name] = mine
                continue
            if exclusive or not is_changed:
                return None
            noted = actor.noted and name == "dict"
            if noted and self.state["note"] != actor.base["note"]:
                return None
            result = MERGERS[name](base, mine, now)
            if result is None:
                return None
            found[name] = result
        return found

    def commit(self, actor: Actor, merged: dict[str, Any]) -> None:
        self.commits += 1
        for name, state in merged.items():
            plain = {"dict": dict, "set": set, "list": list}[name]
            self.state[name] = plain(copy.deepcopy(state))
            self.serials[name] = self.commits
        if "dict" in merged and actor.mine["note"] != actor.base["note"]:
            self.state["note"] = actor.mine["note"]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one.items()) == list(other.items())
    return bool(one == other)


def merge_dicts(base: Any, mine: Any, now: Any) -> Any:
    places = {key: at for at, key in enumerate(base)}
    last, kept = -1, []
    for key in mine:
        if places.get(key, -1) <= last:
            break
        last = places[key]
        kept.append(key)
    gone = [key for key in base if key not in kept]
    put = {key: value for key, value in mine.items() if key not in kept}
    over = {key: mine[key] for key in kept if mine[key] != base[key]}
    missing = object()
    for key in (*gone, *over, *put, *mine.touched):
        if base.get(key, missing) != now.get(key, missing):
            return None
    result = {key: value for key, value in now.items() if key not in gone}
    result.update(over)
    result.update(put)
    return result


def merge_sets(base: Any, mine: Any, now: Any) -> Any:
    if any((item in base) != (item in now) for item in (base ^ mine) | mine.touched):
        return None
    return (now - (base - mine)) | (mine - base)


def merge_lists(base: Any, mine: Any, now: Any) -> Any:
    size = len(base)
    if mine.touched or now[:size] != base:
        return None
    # What was appended and is an item from before, too, stays one with it.
    places = {id(item): at for at, item in enumerate(mine[:size])}
    return now + [now[places[id(item)]] if id(item) in places else item for item in mine[size:]]


MERGERS: dict[str, Any] = {"dict": merge_dicts, "set": merge_sets, "list": merge_lists}


def outcome(step: Any, target: Any, rng: random.Random) -> Any:
    try:
        step(target, rng)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        return type(error)
    return None


def key(rng: random.Random) -> Any:
    return rng.choice((rng.randrange(90), (1, rng.randrange(4)), str(rng.randrange(5))))


def value(rng: random.Random) -> Any:
    values = [rng.randrange(5), [rng.randrange(5)], {"a": [1]}, None, (2, [3])]
    return Odd(rng.randrange(9)) if rng.random() < 0.03 else rng.choice(values)


@dataclasses.dataclass
class Odd:
    """What can't be guarded."""

    number: int


def take_and_put(target: Any, rng: random.Random) -> None:
    # Not the last one: whether it has been away can't be seen then.
    name = key(rng)
    if len(target) and name != next(reversed(target)):
        taken = target.pop(name)
        target["new", rng.randrange(9)] = 1
        target[name] = taken


def again(target: Any, rng: random.Random) -> None:
    target.append(target[rng.randrange(90)])


CHANGES: dict[str, list[Any]] = {
    "dict": [
        lambda c, r: c.__setitem__(key(r), value(r)),
        lambda c, r: c.__setitem__(key(r), value(r)),
        lambda c, r: c.__delitem__(key(r)),
        lambda c, r: c.pop(key(r)),
        lambda c, r: c.__setitem__(*r.choice([*c.items()])) if r.random() < 0.3 else None,
        lambda c, r: c.setdefault(key(r), []).append(r.random()),
        lambda c, r: c[key(r)].append(r.random()),
        lambda c, r: c[key(r)]["a"].append(r.random()),
        lambda c, r: c.update({key(r): value(r) for _ in range(3)}),
        lambda c, r: c.popitem() if r.random() < 0.3 else None,
        lambda c, r: c.clear() if r.random() < 0.05 else None,
        lambda c, r: c.get(key(r)),
        take_and_put,
    ],
    "set": [
        lambda c, r: c.add(key(r)),
        lambda c, r: c.discard(key(r)),
        lambda c, r: c.remove(key(r)),
        lambda c, r: c.update(key(r) for _ in range(3)),
        lambda c, r: c.symmetric_difference_update([key(r)]),
        lambda c, r: c.difference_update([key(r), key(r)]),
        lambda c, r: c.clear() if r.random() < 0.05 else None,
    ],
    "list": [
        lambda c, r: c.append(value(r)),
        lambda c, r: c.append(value(r)),
        lambda c, r: c.extend([value(r), value(r)]),
        again,
        lambda c, r: c.pop(),
        lambda c, r: c[r.randrange(100)].append(1) if r.random() < 0.2 else None,
        lambda c, r: c.insert(r.randrange(100), value(r)) if r.random() < 0.1 else None,
        lambda c, r: c.__setitem__(r.randrange(100), value(r)) if r.random() < 0.1 else None,
        lambda c, r: c.reverse() if r.random() < 0.1 else None,
        lambda c, r: c.insert(999, value(r)) if r.random() < 0.1 else None,
    ],
}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_merged_and_what_is_a_conflict(path, monkeypatch, seed):
    run(path, monkeypatch, seed)


def run(path: Any, monkeypatch: Any, seed: int) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(overlays, "SMALL", rng.choice((-1, 5, 64)))
    monkeypatch.setattr(layered, "_SMALL", rng.choice((-1, 5, 64)))
    size = rng.choice((0, 3, 70, 90))
    state: dict[str, Any] = {
        "dict": {number: [number] if number % 3 else number for number in range(size)},
        "set": set(range(size)),
        "list": [[number] if number % 3 else number for number in range(size)],
        "note": None,
    }
    guard = rng.random() < 0.8
    with Database(path, guard=guard) as first, Database(path) as second:
        parts = [
            cls(copy.deepcopy(state[name]))
            for cls, name in zip(
                (PersistentDict, PersistentSet, PersistentList), NAMES, strict=True
            )
        ]
        first.set_root(PersistentDict(zip(NAMES, parts, strict=True)))
        transaction.commit()
        transaction.begin()
        model = Model(state)
        actors = [Actor(rng.choice((first, second)), model) for _ in range(ACTORS)]
        try:
            for actor in actors:
                actor.do(actor.begin)
            for _ in range(STEPS):
                actor = rng.choice(actors)
                step = rng.choices(range(6), WEIGHTS)[0]
                if step == 0:
                    actor.do(partial(actor.change, rng))
                else:
                    actor.do(
                        (actor.look, actor.save, actor.roll_back, actor.commit, actor.begin)[
                            step - 1
                        ]
                    )
                if rng.random() < 0.01:
                    first.pack()
        finally:
            for actor in actors:
                actor.end()
        with Database(path) as third:
            last = Actor(third, model)
            last.do(last.begin)
            last.end()
