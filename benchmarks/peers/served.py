"""Servers of stores that need one for several processes: each in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 30
_PR_SET_PDEATHSIG = 1


def socket_of(path: Path | str) -> str:
    """Return the Unix socket at which what stores at *path* is served."""
    return f"{path}.s"


@contextlib.contextmanager
def serving(module: str, path: Path | str, *, sync: bool) -> Iterator[None]:
    """Run ``serve(path, sync)`` of a module until the block ends."""
    command = [sys.executable, "-m", "benchmarks.peers.served", module, str(path), str(int(sync))]
    errors = Path(f"{path}.errors")
    with errors.open("wb") as file:  # Some tell there what they do, too.
        process = subprocess.Popen(command, env=environment(), stderr=file)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _answers(socket_of(path)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(errors.read_text()[-2000:])
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait()
        Path(socket_of(path)).unlink(missing_ok=True)


def _answers(address: str) -> bool:
    """Return whether a server listens there: the file is there before that."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(address) == 0


def _end_with_the_parent() -> None:
    """Let this process be ended when that which has started it is gone, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    _end_with_the_parent()
    _, name, place, synced = sys.argv
    importlib.import_module(name).serve(place, sync=bool(int(synced)))
