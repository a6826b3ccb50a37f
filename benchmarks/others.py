"""Processes of their own that take part in a measurement, each with a pipe to this one."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

PATIENCE_SECONDS = 60


class Others:
    """Some processes that run *function*: its first argument, the pipe, and the other arguments.

    Each sends ``"ready"`` first.
    """

    def __init__(self, function: Callable[..., None], arguments: list[tuple[Any, ...]]) -> None:
        context = multiprocessing.get_context("spawn")
        self.conns = []
        self._processes = []
        for before, after in [(each[:1], each[1:]) for each in arguments]:
            here, there = context.Pipe()
            process = context.Process(target=function, args=(*before, there, *after))
            process.start()
            there.close()
            self.conns.append(here)
            self._processes.append(process)

    def __enter__(self) -> list[Connection]:
        for conn in self.conns:
            assert receive(conn) == "ready"
        return self.conns

    def __exit__(self, *_error: object) -> None:
        for conn, process in zip(self.conns, self._processes, strict=True):
            conn.close()
            process.join(PATIENCE_SECONDS)
            if process.is_alive():
                process.terminate()


def receive(conn: Connection) -> Any:
    """Return what comes next; an error if nothing comes."""
    if not conn.poll(PATIENCE_SECONDS):
        raise TimeoutError("the other process does not answer")
    return conn.recv()
