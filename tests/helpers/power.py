"""What a power cut may leave of a file, by what was written and synced until then.

::

    disk = Disk(path, monkeypatch)
    disk.at_any_moment = lambda: copies.append(disk.after_power_cut(generator))

Every system call that changes the file is carried out, and noted. A sector of 512 bytes is
there as of any moment since it was synced for the last time, each by itself; a sync of the
file fixes all of it, a synced write the sectors of its range and nothing else: not the words
of the header, not what was appended, and the size only if the range needs it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dobbin_like.log.file import disk
from dobbin_like.log.format import header
from tests.helpers.log_files import with_words

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    import pytest

SECTOR = 512


def wait_for_no_disk(patch: pytest.MonkeyPatch) -> None:
    """Let every sync return at once: what it would have made durable, Disk says."""
    pwritev: Any = os.pwritev
    patch.setattr(os, "fsync", lambda fd: None)
    patch.setattr(disk, "_datasync", lambda fd: None)
    patch.setattr(os, "pwritev", lambda fd, parts, at, flags=0: pwritev(fd, parts, at))


class Disk:
    """One file, as it may be found after a power cut. One thread."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.at_any_moment: Callable[[], object] = lambda: None
        self.synced_ranges = self.syncs = 0
        self._images = [b""]
        self._fixed: dict[int, int] = {}
        self._size_fixed = 0
        self._real: dict[str, Any] = {
            name: getattr(os, name) for name in ("pwrite", "pwritev", "ftruncate", "fsync")
        }
        for name in self._real:
            patch.setattr(os, name, getattr(self, name))
        self._datasync = disk._datasync
        patch.setattr(disk, "_datasync", self.fdatasync)
        self.start_anew()

    def start_anew(self) -> None:
        """Take the file as it is for synced."""
        self._images = [self.path.read_bytes() if self.path.exists() else b""]
        self._fixed.clear()
        self._size_fixed = 0

    # -- what the package calls -----------------------------------------------

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._moment(fd)
        written: int = self._real["pwrite"](fd, data, offset)
        self._moment(fd)
        return written

    def pwritev(self, fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        self._moment(fd)
        if not flags & os.RWF_DSYNC:
            raise AssertionError("a write of several parts that is not synced")
        written: int = self._real["pwritev"](fd, buffers, offset, flags)
        if self._moment(fd):
            self.synced_ranges += 1
            now = len(self._images) - 1
            for sector in range(offset // SECTOR, -(-(offset + written) // SECTOR)):
                self._fixed[sector] = now
            if min(map(len, self._images[self._size_fixed :])) < offset + written:
                self._size_fixed = now
            self.at_any_moment()
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
        ours = self._moment(fd)
        real(fd)
        if ours:
            self.syncs += 1
            self.start_anew()
            self.at_any_moment()

    # -- what is left ---------------------------------------------------------

    def _moment(self, fd: int) -> bool:
        """Note the bytes of the file as they are now, words included."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        here = os.fstat(fd)
        if (here.st_dev, here.st_ino) != (found.st_dev, found.st_ino):
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

        def version(fixed: int) -> bytes:
            if generator.random() >= share:
                return self._images[fixed]
            return generator.choice(self._images[fixed:])

        size = len(version(self._size_fixed))
        parts = []
        for sector in range(-(-size // SECTOR)):
            at = sector * SECTOR
            part = version(self._fixed.get(sector, 0))[at : at + SECTOR]
            parts.append(part.ljust(SECTOR, b"\0"))
        data = b"".join(parts)[:size]
        return with_words(data, BOOT=1) if data.startswith(header.MAGIC) else data


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
