"""What storages have in common that apply one transaction after the other, in memory.

The newest applied one is the *head*: everything is told as of it.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from dobbin_like.exc import ClosedError, NotHeldError
from dobbin_like.ids import Oid, Tid


class Head(Protocol):
    """A transaction that knows what there is when it is applied."""

    @property
    def tid(self) -> Tid: ...
    @property
    def sequence(self) -> int: ...
    @property
    def oid_count(self) -> int: ...
    @property
    def next_oid(self) -> Oid: ...


HeadT = TypeVar("HeadT", bound=Head)


class StorageWithHead(Generic[HeadT]):
    """A storage that has applied the transactions up to ``_head``."""

    path: str
    read_only: bool
    closed = False
    _head: HeadT

    def __len__(self) -> int:
        return self._head.sequence

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self)} transactions"
        return f"<{type(self).__name__} {self.path}, {state}>"

    @property
    def tid(self) -> Tid:
        return self._head.tid

    @property
    def oid_count(self) -> int:
        return self._head.oid_count

    @property
    def next_oid(self) -> Oid:
        return self._head.next_oid

    @property
    def why_read_only(self) -> str:
        return "this instance was made with read_only=True" if self.read_only else ""

    def _check_follows(self, sequence: int) -> None:
        """Raise NotHeldError if there is a transaction between the head and that one."""
        if sequence != self._head.sequence + 1:
            found = f"transaction {self._head.sequence + 1}, not {sequence}"
            raise NotHeldError(self.path, "apply()", found)

    def _check_open(self) -> None:
        if self.closed:
            text = f"the log {self.path}"
            raise ClosedError(text)
