"""What transactions have read and written, and which isolation that was.

In the manner of Elle (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from
Experimental Observations", PVLDB 14, 2020): every write has a number of its own, so that what was
read tells who has written it, and the order of the numbers in a list tells the order of those
who have appended them. Registers are only written after they were read, which tells theirs.
From this a graph is made:

* ``ww``: one has written the version that follows the other's, and has read that;
* ``wm``: the same, but has not read it: the change was merged;
* ``wr``: one has read what the other has written;
* ``rw``: one has read a version, and the other has written the next;
* ``rt``: one had returned before the other began, in whatever process.

A transaction has two moments, its snapshot and, later, its commit. ``ww``, ``wr`` and ``rt`` say
that the commit of one comes before the snapshot of the other; ``wm``, before its commit;
``rw``, that the snapshot comes before the commit of the other. If there is a circle of moments,
snapshots were not isolated. (Without ``wm``, this is a circle without two ``rw`` in a row: Cerone
and Gotsman, "Analysing Snapshot Isolation", JACM 2018.) Where all transactions check out what they
read, each is one moment, and there must be no circle either.

A transaction that failed has read one snapshot, too; it is in the graph without its writes. One
whose outcome nobody knows counts as committed if somebody has read what it has written.
"""

from __future__ import annotations

import bisect
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

COMMITTED = "committed"
FAILED = "failed"
UNKNOWN = "unknown"

NOTHING = 0
"""The value of a register that nobody has written."""

_EXAMPLES = 20
"""From how many edges a short circle is looked for: one circle is enough."""

_TRIES = 500
"""The same if there is none: there may be only some of other kinds."""


@dataclass
class Done:
    """One transaction. Keys of registers begin with ``r``; all others are lists.

    ``reads`` has the value before its own writes; ``writes`` the numbers written, in their order;
    ``taken_back`` those that it has written and rolled back. Times are those of one clock. An
    ``observer`` is of an instance that only reads. If it has opened the log when no writer was
    there, it may show what a writer that was killed has left sooner than those that had it open:
    what it has read, others need not have read later.
    """

    process: int
    thread: int
    number: int
    begun: int
    reads: dict[str, Any]
    writes: dict[str, list[int]]
    taken_back: list[int] = field(default_factory=list)
    outcome: str = UNKNOWN
    ended: int | None = None
    observer: bool = False

    def __str__(self) -> str:
        return (
            f"transaction {self.number} of thread {self.thread}, {self.outcome}, from"
            f" {self.begun} to {self.ended}, reads {self.reads}, writes {self.writes}"
        )


class Anomaly(NamedTuple):
    """What must not happen: its kind, and what it was."""

    kind: str
    text: str


class Edge(NamedTuple):
    """How one transaction, or a moment of :func:`real_time`, leads to another."""

    start: int
    kind: str
    end: int


def anomalies(history: Sequence[Done], *, serializable: bool = False) -> list[Anomaly]:
    """Return what is wrong with a history; the last transaction has to read everything.

    Args:
        serializable: Whether all have checked out whatever they have read.
    """
    versions = Versions(history)
    edges = versions.edges() + real_time(history)
    return versions.anomalies + circles(history, edges, serializable=serializable)


# -- versions --------------------------------------------------------------------------


class Versions:
    """Who has written what, and in which order."""

    def __init__(self, history: Sequence[Done]) -> None:
        self.history = history
        self.anomalies: list[Anomaly] = []
        self.writer: dict[int, int] = {}  # The transaction by the number written.
        self.given_up: set[int] = set()
        for index, done in enumerate(history):
            self.given_up.update(done.taken_back)
            for numbers in done.writes.values():
                self.writer.update(dict.fromkeys(numbers, index))
        self.orders = self._orders()
        self._see_writes()
        self._check_reads()
        self._check_lost()

    def _report(self, kind: str, text: str) -> None:
        self.anomalies.append(Anomaly(kind, text))

    def _orders(self) -> dict[str, tuple[int, ...]]:
        """Return the longest value of each list; all others must be the beginning of it."""
        longest: dict[str, tuple[int, ...]] = defaultdict(tuple)
        for done in self.history:
            for key, value in done.reads.items():
                if key[0] != "r" and len(value) > len(longest[key]):
                    longest[key] = tuple(value)
        return longest

    def _see_writes(self) -> None:
        """Whoever was read from has committed, whatever is known of it otherwise."""
        for done in self.history:
            for key, value in done.reads.items():
                self._see(done, key, last_of(key, value))
        for key, order in self.orders.items():
            for number in order:
                self._see(self.history[-1], key, number)

    def _see(self, reader: Done, key: str, number: int) -> None:
        if number == NOTHING:
            return
        if number in self.given_up:
            self._report("G1a", f"{key} has {number}, which was rolled back: {reader}")
        elif number not in self.writer:
            self._report("garbage", f"{key} has {number}, which nobody has written: {reader}")
        else:
            writer = self.history[self.writer[number]]
            if writer.outcome == FAILED:
                self._report("G1a", f"{key} has {number} of {writer}: {reader}")
            elif writer.outcome == UNKNOWN:
                writer.outcome = COMMITTED

    def _check_reads(self) -> None:
        for key, order in self.orders.items():
            if len(set(order)) < len(order):
                self._report("duplicate", f"{key} is {order}")
        for done in self.history:
            for key, value in done.reads.items():
                if key[0] != "r" and tuple(value) != self.orders[key][: len(value)]:
                    self._report("order", f"{key} is {self.orders[key]} at another time: {done}")
                last = last_of(key, value)
                writer = self.history[self.writer[last]] if last in self.writer else None
                if writer is not None and last != writer.writes[key][-1]:
                    self._report("G1b", f"{key} has {last} of {writer}: {done}")

    def _check_lost(self) -> None:
        """What is acknowledged is there, and nobody has written over what it has not read."""
        there = {number for order in self.orders.values() for number in order}
        bases: dict[tuple[str, int], Done] = {}
        for done in self.history:
            if done.outcome != COMMITTED:
                continue
            for key, numbers in done.writes.items():
                if key[0] != "r":
                    if not there.issuperset(numbers):
                        self._report("lost update", f"{key} is {self.orders[key]}: {done}")
                    continue
                other = bases.setdefault((key, done.reads[key]), done)
                if other is not done:
                    self._report("lost update", f"{key}: {other}, and {done}")

    # -- the graph -------------------------------------------------------------------

    def edges(self) -> list[Edge]:
        """Return the dependencies of those that have committed, and of what was read at all."""
        edges: list[Edge] = []
        next_of: dict[tuple[str, int], list[int]] = defaultdict(list)
        for key, before, after in self._steps():
            writer = self.writer[after]
            next_of[key, before].append(writer)
            if before in self.writer:
                kind = "ww" if key in self.history[writer].reads else "wm"
                edges.append(Edge(self.writer[before], kind, writer))
        for reader, done in enumerate(self.history):
            for key, value in done.reads.items():
                last = last_of(key, value)
                if last in self.writer:
                    edges.append(Edge(self.writer[last], "wr", reader))
                edges.extend(Edge(reader, "rw", writer) for writer in next_of[key, last])
        return [edge for edge in set(edges) if edge.start != edge.end]

    def _steps(self) -> Iterator[tuple[str, int, int]]:
        """Yield all that was written, each with what it came after."""
        for key, order in self.orders.items():
            for before, after in zip((NOTHING, *order), order, strict=False):
                if after in self.writer:
                    yield key, before, after
        for done in self.history:
            if done.outcome == COMMITTED:
                for key, numbers in done.writes.items():
                    if key[0] == "r":
                        yield key, done.reads[key], numbers[-1]


def last_of(key: str, value: Any) -> int:
    """Return the number that was written last of what was read."""
    if key[0] == "r":
        return int(value)
    return value[-1] if value else NOTHING


def real_time(history: Sequence[Done]) -> list[Edge]:
    """Return who had ended before whom, by way of the moments at which somebody has ended.

    A moment is a node of its own, after the transactions: so the edges are few.
    """
    ended = sorted(
        (done.ended, index)
        for index, done in enumerate(history)
        if done.ended and not done.observer
    )
    times = [time for time, _ in ended]
    first = len(history)
    edges = []
    for at, (_, index) in enumerate(ended):
        edges.append(Edge(index, "rt", first + at))
        if at:
            edges.append(Edge(first + at - 1, "rt", first + at))
    before: dict[int, int] = {}  # The last transaction of an observer, by its thread.
    for index, done in enumerate(history):
        at = bisect.bisect_left(times, done.begun)
        if at:
            edges.append(Edge(first + at - 1, "rt", index))
        if done.observer:
            if done.thread in before:
                edges.append(Edge(before[done.thread], "rt", index))
            before[done.thread] = index
    return edges


# -- circles ---------------------------------------------------------------------------


def circles(
    history: Sequence[Done], edges: Sequence[Edge], *, serializable: bool
) -> list[Anomaly]:
    """Return one circle of each kind that must not be; of those that follow from others, none."""
    found: list[Anomaly] = []
    apart, at_once = on_circles(edges, at_once=False), False

    def look(kind: str, through: str, along: str) -> None:
        chosen = [edge for edge in apart if edge.kind in f"{along} {through}".split()]
        circle = find_circle(chosen, through.split(), along.split(), at_once=at_once)
        if circle is not None:
            if kind == "stale" and _of_one_process(history, circle):
                kind = "stale in its own process"
            found.append(Anomaly(kind, told(history, circle)))

    look("G0", "ww wm", "ww wm")
    look("G1c", "wr", "ww wm wr")
    look("G-single", "rw", "ww wm wr")
    if not found:
        look("G-nonadjacent", "rw", "ww wm wr rw")
    if not found:
        look("stale", "rw", "ww wm wr rt")
    if not found:
        look("out of time", "rt", "ww wm wr rt rw")
    if serializable and not found:
        apart, at_once = on_circles(edges, at_once=True), True
        look("G2", "rw", "ww wm wr rw rt")
    return found


def on_circles(edges: Sequence[Edge], *, at_once: bool) -> list[Edge]:
    """Return the edges that are on circles: mostly none."""
    part = _components(_graph(edges, at_once))
    return [
        edge
        for edge in edges
        for start, end in [_moments(edge, at_once)]
        if part[start] == part[end]
    ]


_Moment = tuple[int, bool]
"""A transaction, and whether it is its commit; else it is its snapshot."""

_Graph = dict[_Moment, list[tuple[_Moment, Edge | None]]]


def find_circle(
    edges: Sequence[Edge], through: Sequence[str], along: Sequence[str], *, at_once: bool
) -> list[Edge] | None:
    """Return a short circle that has an edge of the kinds *through*, and goes on *along* others.

    *at_once*: the two moments of a transaction are one.
    """
    part = _components(_graph(edges, at_once))
    ways = _graph([edge for edge in edges if edge.kind in along], at_once)
    best: list[Edge] | None = None
    tries = 0
    for edge in edges:
        start, end = _moments(edge, at_once)
        if edge.kind not in through or start not in part or part[start] != part.get(end):
            continue
        way = _way(ways, end, start)
        if way is not None and (best is None or len(way) + 1 < len(best)):
            best = [edge, *way]
        tries += 1
        if tries >= _TRIES or (best is not None and tries >= _EXAMPLES):
            break
    return best


def _moments(edge: Edge, at_once: bool) -> tuple[_Moment, _Moment]:
    if at_once:
        return (edge.start, False), (edge.end, False)
    return (edge.start, edge.kind != "rw"), (edge.end, edge.kind in ("rw", "wm"))


def _graph(edges: Iterable[Edge], at_once: bool) -> _Graph:
    out: _Graph = defaultdict(list)
    for edge in edges:
        start, end = _moments(edge, at_once)
        out[start].append((end, edge))
    if not at_once:
        for node in {node for edge in edges for node in (edge.start, edge.end)}:
            out[node, False].append(((node, True), None))
    return out


def _way(out: _Graph, start: _Moment, end: _Moment) -> list[Edge] | None:
    """Return the shortest way, by its edges."""
    came: dict[_Moment, tuple[_Moment, Edge | None] | None] = {start: None}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if node == end:
            way: list[Edge] = []
            while (step := came[node]) is not None:
                node, edge = step
                if edge is not None:
                    way.append(edge)
            return way[::-1]
        for after, edge in out.get(node, ()):
            if after not in came:
                came[after] = node, edge
                queue.append(after)
    return None


def _components(out: _Graph) -> dict[_Moment, _Moment]:
    """Return for each moment the first one of those that it is on a circle with (Kosaraju)."""
    into: dict[_Moment, list[_Moment]] = defaultdict(list)
    for node, ways in out.items():
        for after, _ in ways:
            into[after].append(node)
    part: dict[_Moment, _Moment] = {}
    for root in reversed(_by_end(out)):
        stack = [root]
        while stack:
            node = stack.pop()
            if node not in part:
                part[node] = root
                stack += into[node]
    return part


def _by_end(out: _Graph) -> list[_Moment]:
    """Return all moments, each after those that it leads to, as far as there is no circle."""
    ended: list[_Moment] = []
    seen: set[_Moment] = set()
    for root in list(out):
        if root in seen:
            continue
        seen.add(root)
        work = [(root, iter(out[root]))]
        while work:
            node, ways = work[-1]
            after = next((after for after, _ in ways if after not in seen), None)
            if after is None:
                ended.append(node)
                work.pop()
            else:
                seen.add(after)
                work.append((after, iter(out.get(after, ()))))
    return ended


def _of_one_process(history: Sequence[Done], circle: Sequence[Edge]) -> bool:
    nodes = [edge.start for edge in circle if edge.start < len(history)]
    return len({history[node].process for node in nodes}) == 1


def told(history: Sequence[Done], circle: Sequence[Edge]) -> str:
    """Return a circle as text: each transaction, and how it leads to the next."""
    return "\n".join(
        f"{history[edge.start]}\n    {edge.kind}" for edge in circle if edge.start < len(history)
    )


def read_history(lines: Iterable[Any], make: Callable[..., Done] = Done) -> list[Done]:
    """Return the transactions of one thread from what it has noted."""
    found: dict[int, Done] = {}
    for line in lines:
        if line[0] == "tries":
            _, process, thread, number, begun, reads, writes, taken_back, observer = line
            done = make(process, thread, number, begun, reads, writes, taken_back)
            done.observer, found[number] = observer, done
        else:
            _, number, outcome, ended = line
            done = found[number]
            # What is in doubt may get visible at any time later.
            done.outcome, done.ended = outcome, None if outcome == UNKNOWN else ended
    return list(found.values())
