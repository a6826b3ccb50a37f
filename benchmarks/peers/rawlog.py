"""A limit: as many bytes are appended as a small commit of ours has, and brought to the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from benchmarks.peers import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORD = bytes(176)


class Store:
    """See the package. It only appends: nothing can be found again."""

    def __init__(self, path: Path | str, *, sync: bool = False) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.path, self.sync = path, sync

    def one(self, references: int) -> None:
        pass

    def change(self, times: int) -> None:
        for _ in range(times):
            self.add()

    def fill(self, count: int) -> None:
        pass

    def pick(self, index: int) -> None:
        pass

    def add(self) -> int:
        os.write(self.fd, RECORD)
        if self.sync:
            os.fdatasync(self.fd)
        return 1

    def another(self) -> Store:
        return self

    def open_streams(self) -> None:
        pass

    def store_stream(self, file: BinaryIO) -> None:
        while block := file.read(BLOCK):
            os.write(self.fd, block)

    def read_stream(self) -> Iterator[bytes]:
        with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123  as fast as can be
            while block := file.read(BLOCK):
                yield block

    def close(self) -> None:
        os.close(self.fd)
