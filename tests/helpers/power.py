"""What a power cut may leave of a file, by what was written and synced until then.

::

    disk = Disk(path, monkeypatch)
    disk.at_any_moment = lambda: copies.append(disk.after_power_cut(generator))

Every system call that changes the file is carried out, and noted. A sector of 512 bytes is
there as of any moment since the file was synced for the last time, each by itself; a sync
fixes all of it, size and words included. A sync that is to fail fixes nothing, and what was
written before it may be lost, even when a later one succeeds: the system takes it for written.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from dobbin_like.log.file import disk

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    import pytest

SECTOR = 512


def wait_for_no_disk(patch: pytest.MonkeyPatch) -> None:
    """Let every sync return at once: what it would have made durable, Disk says."""
    patch.setattr(os, "fsync", lambda fd: None)
    patch.setattr(disk, "_datasync", lambda fd: None)


def count_syncs(patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what tells how many syncs of files came to their end since it was asked last."""
    real, ends = disk._datasync, []

    def sync(fd: int) -> None:
        real(fd)
        ends.append(fd)

    def count() -> int:
        found = len(ends)
        del ends[:found]
        return found

    patch.setattr(disk, "_datasync", sync)
    return count


def fail_syncs(patch: pytest.MonkeyPatch, *numbers: int) -> list[int]:
    """Let these syncs fail, counted from 1; return a list of all that were asked for."""
    real, asked = disk._datasync, []

    def sync(fd: int) -> None:
        asked.append(fd)
        if len(asked) in numbers:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    patch.setattr(disk, "_datasync", sync)
    return asked


class Disk:
    """One file, as it may be found after a power cut. One thread."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.at_any_moment: Callable[[], object] = lambda: None
        self.syncs = 0
        self.fails_next = False
        self._images = [b""]
        self._real: dict[str, Any] = {
            name: getattr(os, name) for name in ("pwrite", "ftruncate", "fsync")
        }
        for name in self._real:
            patch.setattr(os, name, getattr(self, name))
        self._datasync = disk._datasync
        patch.setattr(disk, "_datasync", self.fdatasync)
        self.start_anew()

    def start_anew(self) -> None:
        """Take the file as it is for synced."""
        self._images = [self.path.read_bytes() if self.path.exists() else b""]
        self._doubtful: dict[int, list[bytes]] = {}

    # -- what the package calls -----------------------------------------------

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._moment(fd)
        written: int = self._real["pwrite"](fd, data, offset)
        if self._is_ours(fd):
            for sector in range(offset // SECTOR, -(-(offset + written) // SECTOR)):
                self._doubtful.pop(sector, None)  # Written anew: the next sync takes it along.
        self._moment(fd)
        return written

    def ftruncate(self, fd: int, size: int) -> None:
        self._moment(fd)
        self._real["ftruncate"](fd, size)
        self._moment(fd)

    def fdatasync(self, fd: int) -> None:
        self._sync(self._datasync, fd)

    def fsync(self, fd: int) -> None:
        self._sync(self._real["fsync"], fd)

    def _sync(self, real: Callable[[int], None], fd: int) -> None:
        if not self._moment(fd):
            real(fd)
            return
        if self.fails_next:
            self.fails_next = False
            self._fail()
            self.at_any_moment()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)
        self.syncs += 1
        kept = self._doubtful
        self.start_anew()
        self._doubtful = kept
        self.at_any_moment()

    def _fail(self) -> None:
        """From now on, what was written since the last sync is there or not, for good."""
        size = max(map(len, self._images))
        for sector in range(-(-size // SECTOR)):
            versions = {_sector(image, sector) for image in self._images}
            if len(versions) > 1:
                self._doubtful.setdefault(sector, []).extend(versions)

    # -- what is left ---------------------------------------------------------

    def _is_ours(self, fd: int) -> bool:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(fd)
        return (here.st_dev, here.st_ino) == (found.st_dev, found.st_ino)

    def _moment(self, fd: int) -> bool:
        """Note the bytes of the file as they are now, words included."""
        if not self._is_ours(fd):
            return False
        self._note()
        self.at_any_moment()
        return True

    def _note(self) -> None:
        data = self.path.read_bytes()
        if data != self._images[-1]:
            self._images.append(data)

    def after_power_cut(self, generator: random.Random) -> bytes:
        """Return the file as a machine that starts anew may find it."""
        self._note()
        # How much has reached the disk without a sync: nothing, little, much.
        share = generator.choice((0.0, 0.1, 0.5, 1.0))

        def version() -> bytes:
            if generator.random() >= share:
                return self._images[0]
            return generator.choice(self._images)

        size = len(version())
        parts = []
        for sector in range(-(-size // SECTOR)):
            doubtful = self._doubtful.get(sector)
            if doubtful and generator.random() < 0.5:
                parts.append(generator.choice(doubtful))
            else:
                parts.append(_sector(version(), sector))
        return b"".join(parts)[:size]


def _sector(image: bytes, sector: int) -> bytes:
    return image[sector * SECTOR : (sector + 1) * SECTOR].ljust(SECTOR, b"\0")


def sectors(image: bytes, count: int) -> list[bytes]:
    image = image.ljust(count * SECTOR, b"\0")
    return [image[at : at + SECTOR] for at in range(0, count * SECTOR, SECTOR)]


def crash(images: list[bytes], generator: random.Random) -> bytes:
    """Return what a power cut may leave: each sector as of some moment since the last sync.

    The first image is durable; the others were written after it, in that order.
    """
    size = len(generator.choice(images))
    count = -(-max(map(len, images)) // SECTOR)
    columns = zip(*(sectors(image, count) for image in images), strict=True)
    return b"".join(generator.choice(versions) for versions in columns)[:size]
