"""The plugin for pytest, in runs of pytest of its own, and the strategies for Hypothesis."""

from __future__ import annotations

import importlib
import sys
from configparser import ConfigParser
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import transaction
from hypothesis import given
from hypothesis import strategies as st

from dobbin_like.collections import BTree, BTreeSet
from dobbin_like.database import Database
from dobbin_like.fixtures import strategies
from dobbin_like.persistent import (
    PersistentCounter,
    PersistentDict,
    PersistentList,
    PersistentQueue,
    PersistentSet,
)
from tests.helpers import processes

PLUGIN = "dobbin_like.fixtures.plugin"


def run(directory: Path, source: str, *args: str) -> tuple[dict[str, int], str]:
    """Run tests with the plugin; return how many have passed and so on, and the output."""
    (directory / "test_it.py").write_text(source)
    options = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", *args]
    if not any(point.value == PLUGIN for point in entry_points(group="pytest11")):
        options += ["-p", PLUGIN]  # Else it is installed, and there already.
    result = processes.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=directory,
        env=processes.python_path(),
        capture_output=True,
        text=True,
    )
    words = result.stdout.splitlines()[-1].replace(",", "").replace("warnings", "warning").split()
    counts = {what: int(count) for count, what in pairwise(words) if count.isdigit()}
    return counts, result.stdout + result.stderr


HEAD = """
import pytest, transaction
from dobbin_like import Database, MemoryLog, PersistentDict, checkout
"""


def test_a_change_without_a_checkout_ends_the_test_with_an_error(tmp_path: Path) -> None:
    source = (
        HEAD
        + """
from types import SimpleNamespace

def test(database):
    with database.transaction():
        database.set_root(PersistentDict(size=SimpleNamespace(width=3)))
    database.root["size"].width = 4
    assert database.root["size"].width == 4
"""
    )
    counts, output = run(tmp_path, source)
    assert counts == {"passed": 1, "error": 1}
    assert "SharedStateChangedError: PersistentDict oid 0" in output


def test_the_plugin_is_where_pytest_looks_for_it() -> None:
    config = ConfigParser()
    config.read(processes.ROOT / "setup.cfg")

    [line] = config["options.entry_points"]["pytest11"].split("\n")[1:]
    assert line == f"dobbin_like = {PLUGIN}"
    assert importlib.import_module(PLUGIN).database


@pytest.mark.slow
def test_a_run_without_databases_imports_nothing_for_them(tmp_path: Path) -> None:
    source = """
import sys
def test_nothing():
    ours = {name for name in sys.modules if name.startswith(("dobbin_like", "transaction"))}
    fixtures = {"dobbin_like.fixtures", "dobbin_like.fixtures.plugin"}
    assert ours == fixtures | {"dobbin_like", "dobbin_like.late"}
"""

    assert run(tmp_path, source)[0] == {"passed": 1}


@pytest.mark.slow
def test_each_test_has_a_database_of_its_own(tmp_path: Path) -> None:
    source = f"""{HEAD}
@pytest.mark.parametrize("number", range(2))
def test_commit(database, number):
    assert database.root is None
    database.set_root(PersistentDict(number=number))
    transaction.commit()
    checkout(database.root)
    database.root["more"] = 1  # Dropped without a word.

def test_without_one():
    transaction.begin()

def test_after_one_that_has_left_changes(database):
    assert database.root is None
    database.close()  # Its own affair.
"""

    counts, output = run(tmp_path, source, "-W", "error")
    assert counts == {"passed": 4}, output


@pytest.mark.slow
def test_a_log_is_looked_at_through_an_overlay(tmp_path: Path, path: Path) -> None:
    with Database(path) as database:
        database.set_root(PersistentDict(answer=42))
        transaction.commit()
    before = path.read_bytes()
    source = f"""{HEAD}
@pytest.fixture
def dobbin_log():
    return {str(path)!r}

@pytest.mark.parametrize("number", range(2))
def test_change(database, number):
    assert database.root == {{"answer": 42}}
    checkout(database.root)
    database.root["answer"] = number
    transaction.commit()
"""

    assert run(tmp_path, source, "-W", "error")[0] == {"passed": 2}
    assert path.read_bytes() == before


@pytest.mark.slow
def test_a_database_that_is_left_open_is_told(tmp_path: Path) -> None:
    source = f"""{HEAD}
early = Database(MemoryLog())
left = []

def test_leaves_one(database):
    left.append(Database(MemoryLog()))

def test_closes_what_it_opens(database):
    with Database(MemoryLog()):
        pass
    left[0].close()
    early.close()
"""

    counts, output = run(tmp_path, source)
    assert counts == {"passed": 2, "warning": 1}
    assert "OpenDatabaseWarning: <Database '<memory" in output
    told = output[: output.index("OpenDatabaseWarning")].split()[-1]
    path, line, _ = told.rsplit(":", 2)
    assert (path.endswith(".py"), source.splitlines()[int(line) - 1]) == (
        True,
        "def test_leaves_one(database):",
    )
    assert "was opened by the test and not closed" in output


# -- strategies ----------------------------------------------------------------------------


@given(st.data())
def test_strategies_make_collections(data: Any) -> None:
    for made, cls, plain in (
        (strategies.dicts(st.text(), st.integers(), min_size=1), PersistentDict, dict),
        (strategies.lists(st.integers(), min_size=1), PersistentList, list),
        (strategies.queues(st.integers(), min_size=1), PersistentQueue, list),
        (strategies.sets(st.integers(), min_size=1), PersistentSet, set),
        (strategies.btrees(st.text(), st.integers(), min_size=1), BTree, dict),
        (strategies.btree_sets(st.integers(), min_size=1), BTreeSet, set),
    ):
        collection = data.draw(made)
        assert isinstance(collection, cls)
        assert len(plain(collection)) == len(collection) > 0
    assert type(data.draw(strategies.counters()).value) is int


@given(
    words=st.from_type(PersistentDict[str, int]),
    texts=st.from_type(PersistentList[str]),
    numbers=st.from_type(PersistentQueue),
    flags=st.from_type(PersistentSet[bool]),
    tree=st.from_type(BTree[str, bool]),
    members=st.from_type(BTreeSet),
    counter=st.from_type(PersistentCounter),
)
def test_collections_are_found_by_their_types(
    words: Any, texts: Any, numbers: Any, flags: Any, tree: Any, members: Any, counter: Any
) -> None:
    assert all(type(key) is str and type(value) is int for key, value in words.items())
    assert all(type(text) is str for text in texts)
    assert all(type(number) is int for number in [*numbers, *members, counter.value])
    assert all(type(flag) is bool for flag in [*flags, *tree.values()])
