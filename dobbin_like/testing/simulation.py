"""One run: processes, faults, power cuts, and a model that compares.

A seed tells all of it: which processes there are and what they do, whose turn it is at each
system call, who is killed, which disk fails, when the power goes and what it leaves. So a fault
that was found is found again by its seed.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from dobbin_like.ids import Tid
from dobbin_like.log.reading import streams
from dobbin_like.log.writing import writable, writer
from dobbin_like.testing.disk import Disk
from dobbin_like.testing.faults import FoundFault, Injected
from dobbin_like.testing.instance import PATH, Instance, RunState
from dobbin_like.testing.judge import Judge, Opened
from dobbin_like.testing.model import Model, ShownTransaction
from dobbin_like.testing.patching import simulated
from dobbin_like.testing.program import Program
from dobbin_like.testing.schedule import Schedule
from dobbin_like.testing.system import Machine, Process, active

__all__ = ["KINDS", "Outcome", "kinds_of", "simulate"]

KINDS: Final = {
    "threads": 0.5,  # Several threads of one process.
    "loose": 0.5,  # Instances with sync=False beside others.
    "pack": 0.3,
    "streams": 0.4,
    "kills": 0.4,
    "kill": 0.3,  # One kill, at a certain event.
    "stops": 0.3,
    "cuts": 0.5,  # The power goes while processes run, and others go on with what is left.
    "clock": 0.4,  # It steps back.
    "sync": 0.25,  # Syncs fail.
    "evict": 0.12,  # And the system drops what it takes for written.
    "each": 0.12,  # Each process that has the file open is told of it.
    "full": 0.15,  # Disks are full.
    "saves": 0.3,  # Positions are saved often.
}
"""What may happen in a run, and how likely it is to be chosen."""

_LAST: Final = ("failed sync", "replace")
"""What is often the last that a process does: it has not told others yet."""

_SMALL: Final = (
    (writer, "_FIRST_ZEROS", 1024),
    (writer, "_MOST_ZEROS", 4096),
    (streams, "_COPY_SIZE", 600),
)


@dataclass
class Outcome:
    """What has become of a run. ``fault`` is empty if no promise was broken."""

    seed: int
    kinds: frozenset[str]
    images: int = 0
    events: int = 0
    calls: int = 0
    fault: str = ""
    trace: str = ""
    done: dict[str, int] = field(default_factory=dict)


def kinds_of(seed: int) -> frozenset[str]:
    """Return what happens in the run of a seed."""
    random = Random(f"kinds {seed}")
    kinds = {kind for kind, likely in KINDS.items() if random.random() < likely}
    if kinds & {"evict", "each"}:
        kinds.add("sync")
    if "sync" in kinds:
        kinds.discard("loose")
    return frozenset(kinds)


def simulate(
    seed: int,
    *,
    kinds: Iterable[str] | None = None,
    share: float = 0.15,
    kill_at: int = 0,
) -> Outcome:
    """Run the simulation of a seed.

    Args:
        kinds: What may happen; else it is drawn.
        share: Of the events, those after which images are judged.
        kill_at: The event at which the process that has made it is killed; 0: it is drawn, if
            there is to be one.
    """
    chosen = kinds_of(seed) if kinds is None else frozenset(kinds)
    outcome = Outcome(seed, chosen)
    run = _Run(outcome, share, kill_at)
    small: tuple[Any, ...] = _SMALL
    if "saves" in chosen:
        small += ((writer, "SAVE_AFTER_ENTRIES", 5), (writable, "_SAVE_AT_CLOSE_ENTRIES", 2))
    with simulated(Machine(random=Random(seed)), constants=small):
        try:
            run.lives()
        except Exception as error:  # noqa: BLE001  all of them are faults
            kind = "" if isinstance(error, FoundFault) else f"RAISED {type(error).__name__}: "
            outcome.fault = f"{kind}{error}"
            outcome.trace = traceback.format_exc()
        # Here, where descriptors mean something, is what was opened given back.
        del run
    return outcome


class _Run:
    def __init__(self, outcome: Outcome, share: float, kill_at: int) -> None:
        self.outcome = outcome
        self.kinds: frozenset[str] = outcome.kinds
        self.random: Random = Random(f"run {outcome.seed}")
        self.model: Model = Model()
        self.model.lossy = "sync" in self.kinds
        self.share = share
        self.kill_at = kill_at
        self.shared: RunState = RunState(self.model, Random(f"numbers {outcome.seed}"), self.kinds)
        self.cuts: Random = Random(f"cuts {outcome.seed}")
        self.judge: Judge = Judge(self.cuts)

    def lives(self) -> None:
        """Run, cut the power, and go on with what it has left."""
        disk: Disk | None = None
        try:
            for _ in range(self.random.randint(1, 6 if "cuts" in self.kinds else 3)):
                machine = Life(self, disk).run()
                disk = machine.disk.image(self.cuts)
                copy = machine.disk.image(Random(self.cuts.random()))
                self.judge.look(copy, self.model)
                # A copy: those of the next life find what the power cut has left.
                found = self._open(disk.image(self.cuts))
                self.shared.again = self.model.restart(found)
        finally:
            self.outcome.images = self.judge.images
            self.outcome.done = self.shared.done

    def _open(self, disk: Disk) -> list[ShownTransaction]:
        must = self.model.newest_durable
        if PATH not in disk.names:
            if must:
                text = "LOST life: the name is gone"
                raise FoundFault(text)
            return []
        machine = Machine(disk, random=self.cuts)
        with active(machine):
            opened = Opened(machine)
            found = opened.seen()
            self.model.look(found, "life", must, live=False)
            opened.process.kill()
        return found


class Life:
    """What happens between two power cuts."""

    def __init__(self, run: _Run, disk: Disk | None) -> None:
        self.run_ = run
        self.random: Random = run.random
        random = self.random
        kinds = run.kinds
        faults = Injected()
        if "sync" in kinds:
            faults.sync = 0.08
            faults.evict = 0.5 if "evict" in kinds else 0.0
            faults.sync_told_once = "each" not in kinds
        if "full" in kinds:
            faults.full = 0.03
        self.faulty: bool = bool(faults.sync or faults.full)
        self.machine: Machine = Machine(disk, random=Random(random.random()), faults=faults)
        machine = self.machine
        machine.steps_back = "clock" in kinds
        machine.clock = 1_000_000 if "clock" in kinds else 1_000_000 + run.random.randrange(10**6)
        machine.on_event = self._after_event
        self.schedule: Schedule = Schedule(
            machine,
            Random(random.random()),
            change=random.choice((0.02, 0.1, 0.3, 0.6)),
            stop=random.choice((0.002, 0.02)) if "stops" in kinds else 0.0,
            kill=random.choice((0.002, 0.01, 0.03)) if "kills" in kinds else 0.0,
        )
        self.schedule.every_call = self._every_call
        self.left: int = random.randint(2, 6) * (3 if "kills" in kinds else 1)
        self.at_once = random.choice((2, 2, 3))
        self.first = random.choice((1, self.at_once))
        self.limit: int = (
            random.randint(20, random.choice((60, 800))) if "cuts" in kinds else 10**9
        )
        drawn = random.randint(1, random.choice((12, 200))) if "kill" in kinds else 0
        self.kill_at: int = run.kill_at or drawn
        self.cut: bool = False

    def run(self) -> Machine:
        """Let processes come and go; return the machine as the power cut finds it."""
        with active(self.machine):
            for _ in range(self.first):
                self._begin()
            try:
                self.schedule.run()
            except BaseException:
                self.schedule.abort()
                raise
            finally:
                self.run_.outcome.events += self.machine.events
                self.run_.outcome.calls += self.schedule.calls
            if not self.cut:
                self._end()
        return self.machine

    def _begin(self) -> None:
        random, kill_after = self.random, None
        self.left -= 1
        if "kills" in self.run_.kinds and random.random() < (0.1 if self.machine.events else 0.5):
            kill_after = random.randint(1, 60)  # While it opens the log, and others wait for it.
        process = Process(self.machine, kill_after=kill_after)
        program = Program(
            process, self.run_.shared, Random(self.random.random()), faulty=self.faulty
        )
        spawn = self.schedule.spawn
        spawn(process, lambda: program.run(lambda step: spawn(process, step)))

    def _every_call(self) -> None:
        if self.left > 0 and not self.cut:
            alive = len({task.process.pid for task in self.schedule.tasks if not task.ended})
            if alive < self.at_once and (alive == 0 or self.schedule.random.random() < 0.02):
                self._begin()

    def _after_event(self, what: str) -> None:
        machine, run = self.machine, self.run_
        is_last = what in _LAST and "kills" in run.kinds and self.random.random() < 0.3
        if is_last or machine.events == self.kill_at:
            machine.process.kill()
        if machine.events >= self.limit and not self.cut:
            self.cut = True
            for process in machine.processes:
                process.kill()
            return
        often = 3 if what in ("sync", "failed sync", "write", "replace") else 1
        if run.cuts.random() < run.share * often:
            run.judge.look(machine.disk.image(run.cuts), run.model)

    def _end(self) -> None:
        """Look at what is there now: all are gone, and nothing fails any more."""
        self.machine.faults.none()
        self.machine.schedule = None
        self.machine.on_event = None
        with Process(self.machine):
            shared = self.run_.shared
            instance = Instance(self.machine.process, shared, sync=True, read_only=False)
            must: Tid = shared.model.newest_acked
            if instance.log.tid < must:
                text = f"LOST end: {instance.log.tid}, acknowledged {must}"
                raise FoundFault(text)
