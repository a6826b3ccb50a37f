"""Imports that come late: never while others wait for a lock that the thread holds."""

from __future__ import annotations

import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest
import transaction

from dobbin_like import Database, PersistentDict, TransactionLog
from tests.helpers.processes import python_path, run

if TYPE_CHECKING:
    from pathlib import Path


def run_script(source: str, *arguments: object) -> str:
    """Return what a program prints. It has a minute."""
    command = [sys.executable, "-c", source, *map(str, arguments)]
    done = run(command, check=True, timeout=60, capture_output=True, text=True, env=python_path())
    output: str = done.stdout
    return output


FORKED_IN_AN_IMPORT = """
import os, sys, threading, time, transaction
from dobbin_like import Database, PersistentDict, TransactionLog, checkout

path, slow = sys.argv[1:]

def change(key):
    checkout(database.root)
    database.root[key] = 1
    transaction.commit()

with Database(TransactionLog(path)) as database:
    database.root
    assert "ctypes" not in sys.modules
    sys.path.insert(0, slow)
    threading.Thread(target=__import__, args=("ctypes",), daemon=True).start()
    while "ctypes" not in sys.modules:
        time.sleep(0.001)
    if not (pid := os.fork()):
        change("child")
        os._exit(0)
    change("parent")
    _, status = os.waitpid(pid, 0)
    assert status == 0
    transaction.begin()
    print(sorted(database.root))
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.skipif(
    sys.platform == "win32" or bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="a fork beside threads",
)
def test_a_child_that_was_forked_in_the_middle_of_an_import_commits(
    path: Path, tmp_path: Path
) -> None:
    # It waited for the import, which goes on in its parent only, with the commit lock held.
    with Database(TransactionLog(path)) as database:
        database.set_root(PersistentDict())
        transaction.commit()
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "ctypes.py").write_text("import time\ntime.sleep(600)\n")

    done = run_script(FORKED_IN_AN_IMPORT, path, slow)

    assert done == "['child', 'parent']\n"


IMPORTS_WITH_THE_LOCK = """
import contextlib, io, sys, transaction
from dobbin_like import BTree, Database, PersistentCounter, PersistentDict, PersistentFile
from dobbin_like import PersistentList, TransactionLog, checkout
from tests.helpers.things import Thing

logs, found = [], []

class Looking:  # Asked for every module that was not imported yet, by whatever way.
    @staticmethod
    def find_spec(name, *_):
        if any(log.held for log in logs):
            found.append(name)

sys.meta_path.insert(0, Looking)
manager = transaction.TransactionManager()

@contextlib.contextmanager
def opened():
    with (
        Database(TransactionLog(sys.argv[1]), allow=["tests.*"]) as one,
        Database(
            TransactionLog(sys.argv[1]), allow=["tests.*"], transaction_manager=manager
        ) as other,
    ):
        logs[:] = one.storage, other.storage
        yield one, other
        logs.clear()

def change(root):
    checkout(root, *root.values())
    root["thing"].x += 1
    root["tree"][root["thing"].x] = 1
    root["counter"].increment()
    root["list"].append(root["thing"].x)
    root["file"] = PersistentFile(io.BytesIO(b"text"))

with opened() as (one, other):
    one.set_root(
        PersistentDict(
            thing=Thing(x=0), tree=BTree(), counter=PersistentCounter(), list=PersistentList()
        )
    )
    transaction.commit()
    one.index(Thing, "x")
for note in ("", "a note"):
    with opened() as (one, other):
        manager.begin()
        change(one.root)
        transaction.get().note(note)
        transaction.get().setExtendedInfo("a", 1)
        transaction.commit()
        checkout(other.root["counter"])
        other.root["counter"].increment()
        manager.commit()  # It is merged.
        manager.begin()
        change(one.root)
        transaction.commit()
        change(other.root)
        with contextlib.suppress(transaction.interfaces.TransientError):
            manager.commit()
        manager.abort()
        checkout(one.root)
        one.root["wrong"] = lambda: None
        with contextlib.suppress(Exception):
            transaction.commit()
        transaction.abort()
with opened() as (one, _):
    one.pack()
print(found)
"""


def test_nothing_is_imported_with_the_commit_lock(path: Path) -> None:
    # In a child that was forked in the middle of an import, everybody would wait for it.
    assert run_script(IMPORTS_WITH_THE_LOCK, path) == "[]\n"


WITHOUT_A_DESCRIPTOR = """
import os, resource, sys
from dobbin_like import Database, PersistentDict

path, free = sys.argv[1], int(sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
with Database(path) as database:
    os.close(first := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + free, hard))
    try:
        database.pack()
    except OSError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    database.pack()
"""


@pytest.mark.parametrize(("free", "name"), [(0, "x.log"), (1, "x.log.pack")])
def test_a_method_that_can_not_be_imported_for_lack_of_a_descriptor_names_the_log(
    tmp_path: Path, free: int, name: str
) -> None:
    path = tmp_path / "x.log"
    with Database(path) as database:
        database.set_root(PersistentDict())
        transaction.commit()

    told = run_script(WITHOUT_A_DESCRIPTOR, path, free)

    assert told == f"[Errno 24] Too many open files: {str(tmp_path / name)!r}\n"
