"""A program on a terminal of its own: what it shows, and what is typed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from select import select
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """The side of a terminal at which a person sits."""

    def __init__(self, leader: int, process: subprocess.Popen[Any]) -> None:
        self._leader, self.process = leader, process
        self.shown = ""
        self._waited = 0  # Up to where wait_for() has found something.

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def wait_for(self, text: str) -> None:
        """Return when *text* was shown, after what was waited for before."""
        end = time.monotonic() + processes.TIMEOUT_SECONDS
        while text not in self.shown[self._waited :]:
            assert self._read(end - time.monotonic()), f"{text!r} was not shown: {self.shown!r}"
        self._waited = self.shown.index(text, self._waited) + len(text)

    def rest(self) -> str:
        """Return all that was shown, when the program has ended."""
        end = time.monotonic() + processes.TIMEOUT_SECONDS
        while self._read(end - time.monotonic()):
            pass
        return self.shown

    def lines(self) -> list[str]:
        """Return the lines that a person sees, without colours, when the program has ended."""
        return ESCAPES.sub("", self.rest()).replace("\r\n", "\n").splitlines()

    def _read(self, seconds: float) -> bool:
        if seconds <= 0 or not select([self._leader], [], [], seconds)[0]:
            return False
        with suppress(OSError):  # The other end is closed.
            data = os.read(self._leader, 10_000)
            self.shown += data.decode(errors="replace")
            return bool(data)
        return False


def open_terminal() -> tuple[int, int]:
    """Return the descriptors of both sides of a new terminal: a person's, and a program's."""
    try:
        return pty.openpty()
    except OSError as error:  # As in a container without /dev/pts.
        pytest.skip(f"no terminal can be had here: {error}")


@contextmanager
def on_terminal(
    command: list[str], *, columns: int = 80, env: dict[str, str] | None = None, **options: Any
) -> Iterator[Terminal]:
    """Run a program on a terminal; *options* may put something else in the place of a stream."""
    leader, follower = open_terminal()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    base = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")
    }
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), follower) | options
    with processes.start(
        command, cwd=processes.ROOT, env={**base, "TERM": "xterm", **(env or {})}, **streams
    ) as process:
        os.close(follower)
        try:
            yield Terminal(leader, process)
        finally:
            os.close(leader)
            process.kill()


def home_of(path: Path) -> dict[str, str]:
    """Return an environment in which nothing is read from or written to the home directory."""
    return {"HOME": str(path), "IPYTHONDIR": str(path / "ipython")}
