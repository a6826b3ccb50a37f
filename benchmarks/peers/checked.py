"""A limit: *rawlog*, and a checksum of each block of a stream, written and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO
from zlib import crc32

from benchmarks.peers import rawlog

if TYPE_CHECKING:
    from collections.abc import Iterator


class Store(rawlog.Store):
    """See the package. The checksums stay in memory, and are of a mebibyte each."""

    def store_stream(self, file: BinaryIO) -> None:
        self.checksums: list[int] = []

        class Checked:
            @staticmethod
            def read(size: int) -> bytes:
                block = file.read(size)
                if block:
                    self.checksums.append(crc32(block))
                return block

        super().store_stream(Checked)  # type: ignore[arg-type]

    def read_stream(self) -> Iterator[bytes]:
        for block, checksum in zip(super().read_stream(), self.checksums, strict=True):
            assert crc32(block) == checksum
            yield block
