"""The command that follows a log, while a test writes to that."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from tests.helpers.processes import python_path, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def followers() -> Iterator[Callable[..., subprocess.Popen[Any]]]:
    """Let ``dobbin follow`` be started with arguments; all that were end with the block."""
    with contextlib.ExitStack() as ends:

        def begin(*arguments: object) -> subprocess.Popen[Any]:
            process = start(
                [sys.executable, "-m", "dobbin_like", "follow", *map(str, arguments)],
                env=python_path(PYTHONUNBUFFERED="1"),
                stdout=-1,
                stderr=-1,
                text=True,
            )
            ends.callback(process.communicate)
            ends.callback(process.kill)
            return process

        yield begin
