"""Collections with invariants that hold over all of them, and random changes that keep them.

What a transaction does is done to several collections at once, in small steps that others
may do to other keys meanwhile. Whatever is merged, folded, packed or killed: each state
that was committed passes :meth:`Shelf.check`.
"""

from __future__ import annotations

from collections import defaultdict
from queue import Empty
from typing import TYPE_CHECKING, Any

from dobbin_like.persistent import (
    Persistent,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
    checkout,
)

if TYPE_CHECKING:
    import random

LANES = 8
AMOUNTS = 60
MEMBERS = 150
FLAGS = 40
LONGEST = 300


class Disorder(AssertionError):
    """The collections do not belong to one committed state."""


class Thing(Persistent):
    """What a set refers to."""

    __module__ = "benchmarks.shelf"


class Shelf(Persistent):
    """The collections.

    Transactions have a lane and count in it. ``table`` has what each lane has counted up to,
    what of it was taken from the queue, a list of its last numbers, and amounts whose sum is 0;
    ``record`` has every number of every lane, ``queue`` those that nobody took yet. Each member
    is in one of ``left`` and ``right``; what ``flags`` have is what the table has.
    """

    __module__ = "benchmarks.shelf"

    def __init__(self) -> None:
        self.table = PersistentDict({("amount", number): 0 for number in range(AMOUNTS)})
        self.record = PersistentList()
        self.queue = PersistentQueue()
        self.left = PersistentSet(range(MEMBERS))
        self.right = PersistentSet()
        self.flags = PersistentSet()

    # -- changes -----------------------------------------------------------------------

    def change(self, rng: random.Random, lane: int | None = None) -> int:
        """Do something to some of them; return the lane that has counted, -1 if none."""
        steps = [self.transfer, self.move, self.flag, self.take, self.shorten]
        chosen = -1
        if lane is not None or rng.random() < 0.7:
            chosen = rng.randrange(LANES) if lane is None else lane
            self.count(chosen)
        for step in rng.sample(steps, rng.randrange(1, 4)):
            step(rng)
        return chosen

    def count(self, lane: Any) -> None:
        checkout(self.table, self.record, self.queue)
        number = self.table.get(("count", lane), 0) + 1
        self.table["count", lane] = number
        last = self.table.setdefault(("last", lane), [])
        last.append(number)
        del last[:-3]
        self.record.append((lane, number))
        self.queue.put((lane, number))

    def take(self, rng: random.Random) -> None:
        checkout(self.table, self.queue)
        for _ in range(rng.randrange(4)):
            try:
                lane, number = self.queue.get()
            except Empty:
                return
            if self.table.get(("taken", lane), 0) != number - 1:
                raise Disorder(f"{lane} {number} was taken after {self.table['taken', lane]}")
            self.table["taken", lane] = number

    def transfer(self, rng: random.Random) -> None:
        table = self.table
        checkout(table, exclusive=rng.random() < 0.05)
        one, other = (("amount", number) for number in rng.sample(range(AMOUNTS), 2))
        amount = rng.randrange(100)
        table[one] -= amount
        if rng.random() < 0.3:
            table[other] = table.pop(other) + amount  # Now at the end.
        else:
            table[other] += amount

    def move(self, rng: random.Random) -> None:
        checkout(self.left, self.right)
        for member in rng.sample(range(MEMBERS), rng.choice((1, 2, 30))):
            here, there = (
                (self.left, self.right) if member in self.left else (self.right, self.left)
            )
            here.remove(member)
            there.add(member)

    def flag(self, rng: random.Random) -> None:
        checkout(self.table, self.flags)
        name = rng.randrange(FLAGS)
        if name in self.flags:
            self.flags.discard(name)
            del self.table["flag", name]
        else:
            self.flags.add(name)
            self.table["flag", name] = Thing() if rng.random() < 0.3 else name

    def shorten(self, _rng: random.Random) -> None:
        if len(self.record) > LONGEST:
            checkout(self.record)
            del self.record[: LONGEST // 2]

    # -- checks ------------------------------------------------------------------------

    def check(self) -> int:
        """Read all of it; return how many items it were.

        Raises:
            Disorder: It is no state that any transaction has committed.
        """
        table = dict(self.table)
        amounts = [value for key, value in table.items() if key[0] == "amount"]
        flags = {key[1] for key in table if key[0] == "flag"}
        left, right, queue = set(self.left), set(self.right), list(self.queue)
        _require(len(amounts) == AMOUNTS and sum(amounts) == 0, "amounts", amounts)
        _require(flags == set(self.flags), "flags", (flags, set(self.flags)))
        _require(not left & right and len(left | right) == MEMBERS, "members", (left, right))
        record, waiting = _by_lane(self.record), _by_lane(queue)
        for lane in {key[1] for key in table if key[0] == "count"}:
            count, taken = table["count", lane], table.get(("taken", lane), 0)
            numbers = record[lane]
            expected = [*range(count + 1 - len(numbers), count + 1)]
            _require(numbers == expected, "record", (lane, count, numbers))
            _require(waiting[lane] == [*range(taken + 1, count + 1)], "queue", (lane, waiting))
            _require(table["last", lane] == [*range(max(1, count - 2), count + 1)], "last", lane)
        sizes = len(self.table), len(self.left), len(self.right), len(self.queue)
        found = len(table), len(left), len(right), len(queue)
        _require(sizes == found, "sizes", (sizes, found))
        _require(all(key in self.table for key in table), "keys", table.keys())
        return sum(sizes)


def _by_lane(pairs: Any) -> defaultdict[Any, list[int]]:
    numbers: defaultdict[Any, list[int]] = defaultdict(list)
    for lane, number in pairs:
        numbers[lane].append(number)
    return numbers


def _require(true: object, what: str, found: object) -> None:
    if not true:
        raise Disorder(f"{what}: {found!r:.2000}")
