"""What a power cut has left, opened and compared with what was promised.

An image is opened for reading and for writing, also by a process that is killed in it; a commit is
made, it is opened again, and cut again. Each time it has to show what was durable, in the same
order, and nothing that comes and goes. Read :mod:`dobbin_like.testing.simulation` next.
"""

from __future__ import annotations

import contextlib
from random import Random

from dobbin_like.exc import Error, IntegrityError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.format.header import APPENDED, PAGE_SIZE
from dobbin_like.testing.disk import Disk
from dobbin_like.testing.faults import FoundFault, Killed
from dobbin_like.testing.instance import PATH, stored_word
from dobbin_like.testing.model import Model, ShownTransaction, body, shown
from dobbin_like.testing.system import Machine, Process, active

__all__ = ["Judge"]

_LEAST_NUMBER = 10**6
"""Of the commits that are made in images."""


class Judge:
    """Judges images of one run; ``images`` counts them."""

    def __init__(self, random: Random) -> None:
        self.images: int = 0
        self._random = random

    def look(self, disk: Disk, model: Model) -> list[ShownTransaction]:
        """Judge an image; return what a writer finds in it.

        Raises:
            FoundFault: A promise is broken.
        """
        return self._look(disk, model, model.newest_durable, 0)

    def _look(self, disk: Disk, model: Model, must: Tid, depth: int) -> list[ShownTransaction]:
        self.images += 1
        random = self._random
        machine = Machine(disk, random=random)
        if PATH not in disk.names:
            if must:
                text = f"LOST image: the name is gone, {must} was durable"
                raise FoundFault(text)
            return []
        with active(machine):
            try:
                return self._look_around(machine, model, must, depth)
            except (Error, OSError) as error:
                text = f"ERROR image: {error!r}"
                raise FoundFault(text) from error

    def _look_around(
        self, machine: Machine, model: Model, must: Tid, depth: int
    ) -> list[ShownTransaction]:
        random = self._random
        reader, seen = None, None
        if random.random() < 0.5:
            reader, seen = self._read(machine, model, must)
        if depth < 3 and random.random() < 0.4:
            with contextlib.suppress(Killed), Process(machine, kill_after=random.randint(1, 40)):
                TransactionLog(PATH)
            if reader is not None and seen is not None:
                self._compare(_news(reader, seen), seen, "reader, while one is killed")
            if random.random() < 0.5:
                must = max(must, seen[-1].tid) if seen else must
                return self._look(machine.disk.image(random), model, must, depth + 1)
        found = self._write(machine, model, must)
        if seen is not None:
            self._compare(found, seen, "writer, as the reader before")
        if random.random() < 0.3:
            self._again(machine.disk.image(random), found, "cut after opening")
        if found and random.random() < 0.2:
            self._damage(machine.disk, found)
        self._commit(machine, found, reader)
        return found

    def _read(
        self, machine: Machine, model: Model, must: Tid
    ) -> tuple[Opened, list[ShownTransaction]]:
        reader = Opened(machine, read_only=True)
        seen = reader.seen()
        with reader.process:
            model.look(seen, "image, to read", must, live=False)
            model.look_at_states(reader.log, reader.log.transactions(), "image, to read")
            for one in reader.log.transactions():
                if not one.failed:
                    self._is_durable(reader, one)
        return reader, seen

    def _is_durable(self, reader: Opened, one: object) -> None:
        at, end = one.offset, one.end  # type: ignore[attr-defined]
        if not any(file.is_certain(at, end) for file in reader.process.files()):
            text = f"EARLY image, to read: {one} is seen before it is durable"
            raise FoundFault(text)

    def _write(self, machine: Machine, model: Model, must: Tid) -> list[ShownTransaction]:
        writer = Opened(machine)
        found = writer.seen()
        with writer.process:
            model.look(found, "image", must, live=False)
            model.look_at_states(writer.log, writer.log.transactions(), "image")
            if self._random.random() < 0.5:
                writer.log.close()
        return found

    def _commit(
        self, machine: Machine, found: list[ShownTransaction], reader: Opened | None
    ) -> None:
        """Commit something; all see it, and it is there after another cut."""
        random = self._random
        number = _LEAST_NUMBER + random.randrange(_LEAST_NUMBER)
        writer = Opened(machine)
        self._compare(writer.seen(), found, "opened once more")
        with writer.process:
            log = writer.log
            log.acquire()
            tid = Tid(max(log.last_tid + 1, machine.now()))
            made = log.append(tid, [(Oid(77), 1, body(number, 77))], user=str(number))
            log.release()
            log.apply(log.read_news())
            after = [*found, shown(made)]
            self._compare([shown(one) for one in log.transactions()], after, "its writer")
            file = machine.disk.at(PATH)
            # Saved positions may have come behind.
            if file.data[stored_word(machine.disk, APPENDED) :].strip(b"\0"):
                text = "REST image: there is something behind the last frame"
                raise FoundFault(text)
        self._compare(Opened(machine).seen(), after, "another writer")
        if reader is not None:
            self._compare(_news(reader, found), after, "a reader, after a commit")
        self._again(machine.disk.image(random), after, "cut after a commit")

    def _damage(self, disk: Disk, found: list[ShownTransaction]) -> None:
        """Damage a byte of what is in the log: that is an error, and never a shorter log."""
        file, random = disk.at(PATH), self._random
        data = bytearray(file.data)
        data[random.randrange(PAGE_SIZE, stored_word(disk, APPENDED))] ^= 1 << random.randrange(8)
        damaged = Disk()
        damaged.put(PATH, bytes(data), file.number)
        # Opened for reading or writing, which cuts off what is not in the log.
        with contextlib.suppress(IntegrityError):
            self._again(damaged, found, "damaged")

    def _again(self, disk: Disk, must: list[ShownTransaction], who: str) -> None:
        machine = Machine(disk, random=self._random)
        self.images += 1
        with active(machine):
            self._compare(Opened(machine, read_only=self._random.random() < 0.3).seen(), must, who)

    @staticmethod
    def _compare(seen: list[ShownTransaction], wanted: list[ShownTransaction], who: str) -> None:
        if seen != wanted:
            lost = [one for one in wanted if one not in seen]
            more = [one for one in seen if one not in wanted]
            text = f"CHANGED image, {who}: not there {lost[:3]}, new {more[:3]}"
            raise FoundFault(text)


class Opened:
    """A log that is open in a process of its own."""

    def __init__(self, machine: Machine, *, read_only: bool = False) -> None:
        self.process: Process = Process(machine)
        with self.process:
            self.log: TransactionLog = TransactionLog(PATH, read_only=read_only)

    def seen(self) -> list[ShownTransaction]:
        with self.process:
            return [shown(one) for one in self.log.transactions()]


def _news(reader: Opened, before: list[ShownTransaction]) -> list[ShownTransaction]:
    """Catch up, and return all that is seen."""
    with reader.process:
        log = reader.log
        if log.has_news():
            log.apply(log.read_news())
        seen = [shown(one) for one in log.transactions()]
    if seen[: len(before)] != before:
        text = f"BACK image: a reader has seen {before[-3:]}, and sees {seen[-3:]}"
        raise FoundFault(text)
    return seen
