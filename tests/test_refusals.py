"""What the system refuses may be gone without; what a signal handler raises may not."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from dobbin_like.log.file import lock_table, rights
from dobbin_like.log.file.new_file import is_no_file, remove_stale
from dobbin_like.mistaken.paths import shelf_kind
from dobbin_like.processes.refusals import if_possible
from dobbin_like.processes.threads import RunTime
from dobbin_like.upkeep.auto_pack import AutoPack
from tests.helpers.interrupts import handled_at_step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MOST_STEPS = 60
"""Some walk over all processes of the machine."""


def test_what_is_refused_is_gone_without() -> None:
    with if_possible():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with if_possible():
        os.stat("/no such file")  # noqa: PTH116


@pytest.mark.parametrize("error", [TimeoutError("the time is over"), OSError(), ValueError()])
def test_what_a_handler_or_a_mistake_raises_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, if_possible():
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    "act",
    [
        lambda path: lock_table.flock_of("08:01:1"),
        lambda path: lock_table.process_with(0, 1),
        shelf_kind,
        is_no_file,
        lambda path: remove_stale(f"{path}.part", lambda _fd: True),
        rights._list_of,
        lambda path: RunTime().has_run(),
        lambda path: AutoPack(path, 0.5).look(),
    ],
    ids=[
        "who has a lock",
        "who has it of a byte",
        "which shelf it is",
        "whether it is a file",
        "what a writer has left",
        "access control list",
        "whether a thread has run",
        "whether to pack",
    ],
)
def test_no_step_takes_the_timeout_of_a_handler_for_one_of_the_system(
    tmp_path: Path, act: Callable[[str], object]
) -> None:
    path = tmp_path / "data.log"
    path.write_bytes(b"some")

    def interrupt() -> None:
        raise TimeoutError("the time is over")

    for step in range(MOST_STEPS):
        raised = None
        try:
            came = handled_at_step(step, lambda: act(str(path)), interrupt)
        except TimeoutError as error:
            raised = error
        if raised is None:
            assert not came, step
            break
    assert step > 1
