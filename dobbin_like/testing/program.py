"""What the simulated processes do: commit, read, close and open again, pack.

Each thread does a few things drawn at random, as a database would do them: it catches up, reads
the objects that it will change, takes the lock, looks for conflicts with what is visible and what
is appended, and commits. All that it sees is shown to the model. Read
:mod:`dobbin_like.testing.judge` next.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, cast

from dobbin_like.contract import Transaction
from dobbin_like.exc import ClosedError, InDoubtError, IntegrityError, PackRunningError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log.copies.new_log import NewLog
from dobbin_like.log.copies.packed_log import PackedLog
from dobbin_like.log.file.new_file import PackFile
from dobbin_like.testing.faults import FoundFault
from dobbin_like.testing.instance import PATH, Instance, RunState
from dobbin_like.testing.model import Model, body
from dobbin_like.testing.system import Process
from dobbin_like.upkeep.pack_copy import PackCopy
from dobbin_like.upkeep.pack_plan import Survivors

__all__ = ["Program", "pack"]

OBJECTS = 8


class CommitRefused(Exception):
    """A commit was not made, and that is all right."""


class Program:
    """What one process does with the log.

    Args:
        faulty: The disk may fail: errors of the system are no surprise.
    """

    def __init__(
        self, process: Process, shared: RunState, random: Random, *, faulty: bool
    ) -> None:
        self.process = process
        self.shared = shared
        self.random = random
        self.faulty = faulty
        self.instance: Instance | None = None
        self.read_only: bool = random.random() < 0.25
        self.sync: bool = "loose" not in shared.kinds or random.random() < 0.6
        self.threads: bool = (
            "threads" in shared.kinds and not self.read_only and random.random() < 0.5
        )
        self.closing: bool = False
        self.packs: float = random.choice((0.0, 0.05, 0.3))

    def open(self) -> Instance:
        """Open the log."""
        self.shared.count("open to read" if self.read_only else "open")
        return Instance(self.process, self.shared, sync=self.sync, read_only=self.read_only)

    def run(self, spawn: Callable[[Callable[[], object]], object]) -> None:
        """Open the log, and do things with it, in several threads perhaps."""
        instance = self.instance = self.surely(self.open)
        if instance is None:
            return
        if self.threads:
            for _ in range(self.random.choice((1, 1, 2, 3))):
                spawn(partial(self.work, instance, Random(self.random.random()), 6))
            self.work(instance, self.random, 8)
            closes = 0.3
        else:
            self.work(instance, self.random, 12)
            closes = 0.8
        if self.random.random() < closes:
            self.closing = True
            self.surely(instance.log.close)

    def surely(self, step: Callable[[], Any]) -> Any:
        """Do a step that fails only if the disk does; return None then."""
        try:
            return step()
        except (OSError, IntegrityError, InDoubtError) as error:
            if isinstance(error, FileNotFoundError) and self.read_only:
                return None  # Nobody has created it yet.
            if not self.faulty or isinstance(error, IntegrityError):
                raise
            self.shared.count("error")
            return None

    def work(self, instance: Instance, random: Random, most: int) -> None:
        """Do some things."""
        now: Instance | None = instance
        for _ in range(random.randint(2, most)):
            if now is None:
                return
            try:
                now = self._read(now, random) if self.read_only else self._write(now, random)
            except ClosedError:  # By another thread.
                if not self.closing:
                    raise
                return

    def _read(self, instance: Instance, random: Random) -> Instance | None:
        self.surely(instance.catch_up)
        if random.random() < 0.5:
            return self._open_again(instance)
        return instance

    def _write(self, instance: Instance, random: Random) -> Instance | None:
        chance, kinds = random.random(), self.shared.kinds
        if "pack" in kinds and random.random() < self.packs:
            self.surely(lambda: self.pack(instance))
            return instance
        if chance < 0.05 and not self.threads:
            return self._open_again(instance)
        if chance < 0.10:
            self.surely(lambda: self.fail(instance, random))
        elif chance < 0.16:
            self.surely(instance.catch_up)
        else:
            self.surely(lambda: self.commit(instance, random))
        return instance

    def _open_again(self, instance: Instance) -> Instance | None:
        self.surely(instance.log.close)
        return cast("Instance | None", self.surely(self.open))

    def fail(self, instance: Instance, random: Random) -> None:
        """Record a failed transaction."""
        instance.acquire()
        try:
            tid = Tid(self.process.machine.now())
            instance.log.fail(tid, "refused", user="0", description="x" * random.choice((1, 700)))
            self.shared.count("failed")
        finally:
            instance.log.release()

    def pack(self, instance: Instance) -> None:
        """Pack the log, if it is there: so is its directory then."""
        if PATH not in self.process.machine.disk.names:
            return
        with contextlib.suppress(PackRunningError):
            pack(PATH, self.shared.model)
            self.shared.count("pack")
            instance.catch_up("after a pack")

    # -- a commit ------------------------------------------------------------------

    def commit(self, instance: Instance, random: Random) -> None:
        """Commit a change of some objects that were read before."""
        instance.catch_up("begin")
        oids = sorted(random.sample(range(OBJECTS), random.randint(1, 3)))
        read = instance.versions(oids)
        number = self.shared.next_number()
        model = self.shared.model
        try:
            made = self._append(instance, random, number, oids, read)
        except CommitRefused:
            return
        except InDoubtError:
            self._in_doubt(number)
            return
        finally:
            instance.log.release()
        self._pause(random)
        try:
            instance.log.confirm(made)
        except InDoubtError:
            self._in_doubt(number)
            return
        model.ack(number, made)
        self.shared.count("commit")
        instance.catch_up("own")
        if instance.log.tid < made.tid:
            text = f"LOST own: commit {number} is not seen"
            raise FoundFault(text)

    def _pause(self, random: Random) -> None:
        """Do something else for a while, perhaps: others go on."""
        schedule = self.process.machine.schedule
        if schedule is not None and random.random() < 0.1:
            schedule.sleep(random.randint(20, 400))

    def _in_doubt(self, number: int) -> None:
        self.shared.model.end(number, "doubt")
        self.shared.count("doubt")
        if not self.faulty:
            text = f"commit {number} is in doubt, and no disk has failed"
            raise FoundFault(text)

    def _append(
        self,
        instance: Instance,
        random: Random,
        number: int,
        oids: list[int],
        read: dict[int, int],
    ) -> Transaction:
        log, model = instance.log, self.shared.model
        self._lock(instance, random, oids)
        if instance.versions(oids) != read:
            self.shared.count("conflict")
            if random.random() < 0.3:
                log.fail(self._tid(instance), "conflict", user="0", oids=[Oid(o) for o in oids])
            raise CommitRefused
        if "streams" in self.shared.kinds and random.random() < 0.15:
            self._stream(instance, random, number)
        tid = self._tid(instance)
        entries = [(Oid(oid), 1, body(number, oid)) for oid in oids]
        loose, process = "loose" in self.shared.kinds, self.process
        model.begin(
            number, synced=instance.sync, read=read, is_gone=lambda: loose and process.dead
        )
        try:
            if random.random() < 0.2:
                made = self._in_two_steps(instance, random, tid, entries, number)
            else:
                made = log.append(tid, entries, user=str(number), wait=False)
        except InDoubtError:
            raise
        except OSError:
            model.end(number, "failed")
            self.shared.count("not written")
            if not self.faulty:
                raise
            raise CommitRefused from None
        instance.look_behind()
        return made

    def _lock(self, instance: Instance, random: Random, oids: list[int]) -> None:
        """Take the lock when nothing that is appended may be in conflict."""
        log = instance.log
        instance.acquire(settled=random.random() < 0.1)
        instance.catch_up("locked")
        while any(not (one.failed or set(oids).isdisjoint(one.oids)) for one in log.unseen):
            last = log.unseen[-1]
            log.release()
            log.wait_for(last)
            instance.acquire()
            instance.catch_up("waited")

    def _in_two_steps(
        self, instance: Instance, random: Random, tid: Tid, entries: Any, number: int
    ) -> Transaction:
        log = instance.log
        made = log.prepare(tid, entries, user=str(number))
        if random.random() < 0.4:
            self.shared.model.end(number, "failed")
            if random.random() < 0.7:
                log.fail(tid, "others have refused")
            raise CommitRefused
        log.decide(wait=False)
        self.shared.count("decided")
        return made

    def _stream(self, instance: Instance, random: Random, number: int) -> None:
        """Write a stream, and read it before anything follows it."""
        data = random.randbytes(random.choice((10, 700, 3000)))
        key, size = instance.log.write_stream(io.BytesIO(data))
        try:
            found = instance.log.read_stream(key, 0, size)
        except IntegrityError:
            if "evict" not in self.shared.kinds:
                raise
            # A sync has failed meanwhile, and nobody was promised it.
            raise CommitRefused from None
        if size != len(data) or found != data:
            text = f"TORN own: stream {key} before commit {number}"
            raise FoundFault(text)
        self.shared.count("stream")

    def _tid(self, instance: Instance) -> Tid:
        return Tid(max(self.process.machine.now(), instance.log.last_tid + 1))


class _Hurry:
    """A pack gives way to nobody but at the calls of the system."""

    patient = False

    def rest(self) -> None:
        """Go on."""


def pack(path: str, model: Model) -> None:
    """Pack a log, and keep all objects. Raises PackRunningError, OSError."""
    hurry: Any = _Hurry()
    with PackFile(path) as file:
        old = PackedLog(path, None, read_only=False)
        try:
            if not old.place.sequence:
                return
            survivors = Survivors(old, hurry, lambda _size: None)
            survivors.keep_all_objects()
            # The states are no objects: nothing refers to anything.
            survivors.seen = old.place._replace(end=1 << 60)
            new = NewLog(file, old.next_page(), old.positions.next_oid)
            packing = PackCopy(old, new, survivors, hurry)
            packing.up_to_the_moment(lambda _end: None)
            packing.catch_up()
            model.packed(old.place.tid)
            packing.switch()
        finally:
            old.close()
