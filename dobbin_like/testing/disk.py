"""A disk in memory that forgets: page cache and device of each file, names, and power cuts.

What a program has written is in the page cache. Of what was not synced, a power cut leaves any
choice: per sector of 512 bytes any of the versions since the last sync, any of the sizes, of the
names those up to some change. A sector that holds words, 8 bytes that are stored each for
itself, may mix them. That is more than real disks do, and what they may do.

Assumed is that a sector is written whole, and that what was cut off does not come back when the
file has grown again. Knows nothing of processes. Read :mod:`dobbin_like.testing.system` next.
"""

from __future__ import annotations

import errno
import os
from random import Random

__all__ = ["SECTOR", "Disk", "SimulatedFile"]

SECTOR = 512
_PAGE = 8
"""Sectors that are often written together."""

_WORD = 8
_HEAD = 64
"""Bytes of the first sector that are written once; words follow."""


def _sectors(start: int, end: int) -> range:
    return range(start // SECTOR, -(-end // SECTOR))


class SimulatedFile:
    """The bytes of one file: ``data`` as programs see them, and what is stored for certain.

    Args:
        data: All of it is on the device.
    """

    def __init__(self, number: int, data: bytes = b"") -> None:
        self.number = number
        self.data: bytearray = bytearray(data)
        self._stored = bytearray(data)
        # Since the last sync. Versions of sectors, each with the number of changes of the size
        # that came before it; the sizes, first that which is stored; where it was cut.
        self._versions: dict[int, list[tuple[int, bytes]]] = {}
        self._sizes = [len(data)]
        self._cuts: list[tuple[int, int]] = []
        self._dirty: set[int] = set()  # Sectors that the next sync will write.

    def write(self, offset: int, data: bytes) -> None:
        """Write to the page cache; between the end and *offset* there are zeros then."""
        end, size = offset + len(data), len(self.data)
        if end > size:
            self.data.extend(bytes(end - size))
            self._sizes.append(end)
        self.data[offset:end] = data
        self._note(min(offset, size), end)

    def truncate(self, size: int) -> None:
        """Cut the file, or let it grow by zeros."""
        if size >= len(self.data):
            self.data.extend(bytes(size - len(self.data)))
            self._sizes.append(size)
            return
        del self.data[size:]
        self._sizes.append(size)
        self._cuts.append((len(self._sizes) - 1, size))
        self._dirty = {sector for sector in self._dirty if sector * SECTOR < size}
        if size % SECTOR:
            self._note(size - size % SECTOR, size)

    def sync(self) -> None:
        """Bring to the device what the system takes for not written yet, and the size."""
        last = len(self._sizes) - 1
        stored = self._cut_stored(last)
        self._versions = {
            sector: allowed
            for sector, versions in self._versions.items()
            if sector not in self._dirty
            and sector * SECTOR < len(self.data)
            and (allowed := [(0, v) for tag, v in versions if tag >= self._floor(sector, last)])
        }
        for sector in self._dirty:
            _put(stored, sector, self._sector(sector))
        stored.extend(bytes(max(0, len(self.data) - len(stored))))
        del stored[len(self.data) :]
        self._stored = stored
        self._sizes, self._cuts, self._dirty = [len(self.data)], [], set()

    def lose(self) -> None:
        """Fail a sync: the system takes for written what may not be on the device."""
        self._dirty.clear()

    def evict(self, first: int = 0) -> None:
        """Drop from the page cache what the system takes for written, from byte *first* on."""
        for sector in self._versions:
            at = sector * SECTOR
            if sector not in self._dirty and first <= at < len(self.data):
                size = min(SECTOR, len(self.data) - at)
                self.data[at : at + size] = _get(self._cut_stored(len(self._sizes)), sector)[:size]

    def is_certain(self, start: int, end: int) -> bool:
        """Return whether the bytes from *start* to *end* would survive any power cut."""
        if min(self._sizes) < end or any(size < end for _, size in self._cuts):
            return False
        wanted = self.data[start:end]
        if self._stored[start:end] != wanted:
            return False
        for sector in _sectors(start, end):
            at = sector * SECTOR
            low, high = max(start, at), min(end, at + SECTOR)
            for _, version in self._versions.get(sector, ()):
                if version[low - at : high - at] != self.data[low:high]:
                    return False
        return True

    def image(self, random: Random, share: float, together: int) -> bytes:
        """Return what a power cut may leave.

        Args:
            share: Of what was not synced, to be there.
            together: As many sectors are there or not.
        """
        state = 0
        if random.random() < max(share, 0.3):
            state = random.randrange(len(self._sizes))
        out = self._cut_stored(state)
        chosen: dict[int, bool] = {}
        for sector, versions in self._versions.items():
            group = sector // together
            if group not in chosen:
                chosen[group] = random.random() < share
            allowed = [v for tag, v in versions if tag >= self._floor(sector, state)]
            if sector == 0:
                self._mix_words(out, allowed, random, share, whole=chosen[group])
            elif chosen[group] and allowed:
                last = random.random() < 0.6
                _put(out, sector, allowed[-1] if last else random.choice(allowed))
        size = self._sizes[state]
        out.extend(bytes(max(0, size - len(out))))
        return bytes(out[:size])

    @staticmethod
    def _mix_words(
        out: bytearray, allowed: list[bytes], random: Random, share: float, *, whole: bool
    ) -> None:
        head = bytes(out[:_HEAD])
        if whole and allowed and any(v[:_HEAD] != head for v in allowed):
            _put(out, 0, random.choice(allowed))
            head = bytes(out[:_HEAD])
        alike = [v for v in allowed if v[:_HEAD] == head]
        if not alike:
            return
        sector = bytearray(_get(out, 0))
        for at in range(_HEAD, SECTOR, _WORD):
            if random.random() < share:
                sector[at : at + _WORD] = random.choice(alike)[at : at + _WORD]
        _put(out, 0, bytes(sector))

    def _note(self, start: int, end: int) -> None:
        tag = len(self._sizes) - 1
        for sector in _sectors(start, end):
            self._versions.setdefault(sector, []).append((tag, self._sector(sector)))
            self._dirty.add(sector)

    def _sector(self, sector: int) -> bytes:
        return _get(self.data, sector)

    def _floor(self, sector: int, state: int) -> int:
        """Return the change of size that took away what the sector held, 0 if none has."""
        end = (sector + 1) * SECTOR
        return max((at for at, size in self._cuts if at <= state and size < end), default=0)

    def _cut_stored(self, state: int) -> bytearray:
        stored = bytearray(self._stored)
        for at, size in self._cuts:
            if at <= state:
                del stored[size:]
        return stored


def _get(data: bytearray, sector: int) -> bytes:
    return bytes(data[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")


def _put(data: bytearray, sector: int, content: bytes) -> None:
    at = sector * SECTOR
    data.extend(bytes(max(0, at + SECTOR - len(data))))
    data[at : at + SECTOR] = content


class Disk:
    """Files and their names, in one directory of any name.

    ``files`` are by their inode numbers, ``names`` lead to these numbers. A name is on the
    device when the directory was synced.
    """

    def __init__(self, first_number: int = 100) -> None:
        self.files: dict[int, SimulatedFile] = {}
        self.names: dict[str, int] = {}
        self._stored_names: dict[str, int] = {}
        # Since the last sync of the directory: a name, and the number it got, None: it is gone.
        self._changes: list[tuple[tuple[str, int | None], ...]] = []
        self._next = first_number

    def create(self, name: str) -> SimulatedFile:
        """Make an empty file."""
        file = self._add(b"")
        self._change((name, file.number))
        return file

    def put(self, name: str, data: bytes, number: int | None = None) -> SimulatedFile:
        """Have a file with *data*, all of which is on the device, and so is its name."""
        file = self._add(data, number)
        self.names[name] = self._stored_names[name] = file.number
        return file

    def at(self, name: str) -> SimulatedFile:
        """Return the file of that name. Raises FileNotFoundError."""
        if name not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self.files[self.names[name]]

    def link(self, old: str, new: str) -> None:
        """Give a file a second name."""
        number = self.at(old).number
        if new in self.names:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
        self._change((new, number))

    def replace(self, old: str, new: str) -> None:
        """Give a file another name, in one step."""
        self._change((new, self.at(old).number), (old, None))

    def unlink(self, name: str) -> None:
        """Take a name away."""
        self.at(name)
        self._change((name, None))

    def sync_directory(self) -> None:
        """Bring the names to the device."""
        self._stored_names, self._changes = dict(self.names), []

    def image(self, random: Random) -> Disk:
        """Return what a power cut may leave. Inode numbers stay."""
        names = dict(self._stored_names)
        for change in self._changes[: random.randint(0, len(self._changes))]:
            _apply(names, change)
        share = random.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        together = random.choice((1, 1, _PAGE))
        disk = Disk(self._next + 1000)
        for name, number in names.items():
            disk.put(name, self.files[number].image(random, share, together), number)
        return disk

    def copied(self, name: str) -> Disk:
        """Return a disk with a copy of a file, of another inode number, as a program reads it."""
        disk = Disk(self._next + 1000)
        disk.put(name, bytes(self.at(name).data))
        return disk

    def _add(self, data: bytes, number: int | None = None) -> SimulatedFile:
        if number is None:
            number, self._next = self._next, self._next + 1
        file = self.files[number] = SimulatedFile(number, data)
        return file

    def _change(self, *change: tuple[str, int | None]) -> None:
        _apply(self.names, change)
        self._changes.append(change)


def _apply(names: dict[str, int], change: tuple[tuple[str, int | None], ...]) -> None:
    for name, number in change:
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number
