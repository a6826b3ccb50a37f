"""What ``safe.transaction()`` returns."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from threading import get_ident
from types import TracebackType
from typing import NoReturn

from dobbin_like.exc import BlockError
from dobbin_like.safe.groups import Group

__all__ = ["SafeBlock"]


class SafeBlock:
    """A transaction of a safe: for one ``with`` of one thread. It is made when it is entered."""

    _owner: int | None = None

    def __init__(self, path: str, make: Callable[[], AbstractContextManager[Group]]) -> None:
        self._path = path
        self._make = make

    def __enter__(self) -> object:
        if self._owner is not None:
            self._refuse("it was entered before; call transaction() for each with statement")
        self._block = self._make()
        self._owner = get_ident()
        group = self._block.__enter__()
        self._entered = group.entered
        self._depth = len(self._entered)
        self._entered += [weakref.ref(self)]
        return group

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        if self._owner != get_ident():
            self._refuse("another thread has entered it" if self._owner else "it was not entered")
        try:
            return self._block.__exit__(kind, error, traceback)
        finally:
            del self._entered[self._depth :]

    async def __aenter__(self) -> NoReturn:
        text = (
            f"{self._path}: a block of a safe waits for others, and is none of tasks; put with "
            "safe.transaction(): into a function, and await asyncio.to_thread(function)"
        )
        raise TypeError(text)

    async def __aexit__(self, *_error: object) -> None:
        """It is never called; Python looks for it first."""

    def end_left(self) -> None:
        """Take back what was done in it: an interrupt has kept it from its end."""
        interrupt = KeyboardInterrupt()
        self.__exit__(KeyboardInterrupt, interrupt, None)

    def _refuse(self, reason: str) -> NoReturn:
        raise BlockError(self._path, reason)
