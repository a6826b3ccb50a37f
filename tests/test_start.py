"""What a program waits for when it starts: the modules that are imported for it.

How long that takes is told by ``benchmarks.bench_users``; here is what it must not wait for.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers.processes import python_path, run

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "from dobbin_like import Database, Persistent, PersistentDict, checkout\n"
LISTS = (
    "from dobbin_like import PersistentList; from dobbin_like.persistent import PersistentSet\n"
)


def imported_by(program: str, *arguments: object) -> set[str]:
    """Return the modules that are there when *program* ends, beside those of ``transaction``."""
    before = "import sys, transaction\nbefore = set(sys.modules)\n"
    after = "print(*set(sys.modules) - before)\n"
    done = run(
        [sys.executable, "-c", before + program + after, *map(str, arguments)],
        check=True,
        env=python_path(),
        stdout=subprocess.PIPE,
        text=True,
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return imported_by(PROGRAM)


def test_a_program_imports_no_other_collection_than_it_asks_for(imported: set[str]) -> None:
    collections = {name for name in imported if name.startswith("dobbin_like.collections.")}

    assert collections == {f"dobbin_like.collections.{name}" for name in ("common dict".split())}


@pytest.mark.parametrize(
    "room",
    "check cli conformance demo exc.indexes exc.tools history repair safe search upkeep".split(),
)
def test_a_program_does_not_import_what_most_programs_never_use(
    imported: set[str], room: str
) -> None:
    assert not [name for name in imported if name.startswith(f"dobbin_like.{room}")]


@pytest.mark.parametrize("module", "rebuild shown state_reader".split())
def test_a_program_does_not_import_what_shows_and_repairs_states(
    imported: set[str], module: str
) -> None:
    assert not [
        name for name in imported if name.startswith(f"dobbin_like.objects.codec.{module}")
    ]


@pytest.mark.parametrize(
    "module",
    "asyncio click copy dataclasses decimal dis fractions hashlib inspect json pathlib "
    "portalocker rich".split(),
)
def test_a_program_does_not_wait_for_modules_that_take_long(
    imported: set[str], module: str
) -> None:
    assert module not in imported


def test_a_program_with_lists_and_sets_does_not_wait_for_them_either() -> None:
    assert imported_by(PROGRAM + LISTS).isdisjoint({"dis", "inspect", "tokenize"})


def test_opening_and_reading_import_nothing_more(imported: set[str], tmp_path: Path) -> None:
    path = tmp_path / "data.log"
    imported_by(
        f"{PROGRAM}database = Database(sys.argv[1])\n"
        "database.set_root(PersistentDict(a=1))\n"
        "transaction.commit()\n",
        path,
    )

    read = imported_by(f"{PROGRAM}assert Database(sys.argv[1]).root['a'] == 1\n", path)

    assert read - imported == set()

    by_path = imported_by(
        f"{PROGRAM}import dobbin_like\nassert dobbin_like.open(sys.argv[1]).root['a'] == 1\n",
        path,
    )

    assert by_path - imported == {"dobbin_like.opening", "dobbin_like.texts"}
