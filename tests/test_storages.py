"""Every storage keeps the protocol; and a storage that does not is found out."""

from __future__ import annotations

from dobbin_like.conformance import StorageTests
from dobbin_like.storage import MemoryLog, OverlayLog, TransactionLog


class TestTransactionLog(StorageTests):
    def make(self):
        return TransactionLog(self.directory() / "data.log", sync=False)

    def again(self, storage, **options):
        return TransactionLog(storage.path, sync=False, **options)


class TestMemoryLog(StorageTests):
    def make(self):
        return MemoryLog()

    def again(self, storage, **options):
        return storage.another(**options)


class TestOverlayOfALog(StorageTests):
    """Over an empty base; a history has its first half in the base."""

    def base(self):
        return TransactionLog(self.directory() / "data.log", sync=False)

    def make(self):
        return OverlayLog(self.opened(self.base()))

    def again(self, storage, **options):
        return storage.another(**options)

    def middle(self, storage):
        return OverlayLog(storage)

    def reader(self, storage):
        return OverlayLog(storage)


class TestOverlayOfMemory(TestOverlayOfALog):
    def base(self):
        return MemoryLog()


class TestOverlayOfAnOverlay(TestOverlayOfALog):
    def base(self):
        return OverlayLog(self.opened(MemoryLog()))
