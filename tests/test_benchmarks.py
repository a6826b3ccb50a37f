"""Every benchmark runs, in its smallest size; and peers do the work that we do."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import THEMES
from benchmarks.compare import measure
from benchmarks.peers import REFERENCES
from benchmarks.peers.rawlog import RECORD
from benchmarks.peers.registry import PEERS, SYNC, is_installed, store_of
from benchmarks.side import together
from benchmarks.side.goals import GOALS, Goal
from benchmarks.side.page import of_row, of_side, publish, why_not
from benchmarks.side.plots import Line, plot
from benchmarks.side.results import added
from benchmarks.side.workload import IS_FREE_THREADED
from benchmarks.side.workloads import WITH_STREAMS, WORKLOADS
from tests.helpers.processes import ROOT, python_path, run

RESULTS = ROOT / "docs" / "benchmarks" / "results.json"
COUNT = 1_200  # More than are in one transaction.


def benchmark(*arguments: object) -> str:
    return program_of("-m", *arguments)


def program(text: str, *arguments: object) -> str:
    return program_of("-c", text, *arguments)


def program_of(*arguments: object) -> str:
    done = run(
        [sys.executable, *map(str, arguments)],
        timeout=600,  # On a machine that has much else to do.
        env=python_path(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not done.returncode, done.stdout
    return str(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
def test_a_theme_runs(theme: str, tmp_path: Path) -> None:
    out = benchmark(f"benchmarks.{theme}", "--smallest", "--directory", tmp_path)

    assert "what" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_workloads_run_and_their_results_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    asked = "--smallest", "--peers", "ours", "--json", file
    benchmark("benchmarks", "--only", "side.", *asked)

    found = json.loads(file.read_text())["side"]
    here = [each for each in WORKLOADS if each.free_threaded == IS_FREE_THREADED]
    assert set(found) == {workload.name for workload in here}
    for workload in here:
        for each in found[workload.name].values():
            assert set(each["samples"]["ours"]) == {figure.name for figure in workload.figures}


@pytest.mark.slow
def test_two_revisions_are_compared() -> None:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("the source is not that of a repository")

    out = benchmark("benchmarks", "--compare", "HEAD", "--only", "commit", "--rounds", "1")

    assert "commit: one commit" in out


@pytest.mark.slow
def test_each_revision_is_measured_with_its_own_package(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "dobbin_like", source / "dobbin_like")
    (source / "benchmarks").symlink_to(ROOT / "benchmarks")
    with (source / "dobbin_like" / "database.py").open("a") as file:
        file.write('raise ImportError("this is the other one")')
    commit = next(each for each in WORKLOADS if each.name == "commit")

    with pytest.raises(RuntimeError, match="this is the other one"):
        measure(commit, 0, source, tmp_path, "stores")


def scripts() -> list[str]:
    """Return the modules that are run by hand, by their names."""
    main = '__name__ == "__main__"'
    paths = sorted((ROOT / "benchmarks").glob("*.py"))
    return [path.stem for path in paths if main in path.read_text() and path.stem not in THEMES]


@pytest.mark.parametrize("script", scripts())
def test_a_script_tells_how_it_is_used(script: str) -> None:
    if script.startswith("postgres"):
        pytest.importorskip("psycopg")

    assert "usage: " in benchmark(f"benchmarks.{script}", "--help")


def test_a_list_names_all() -> None:
    out = benchmark("benchmarks", "--list")

    assert all(f"\n{theme}." in out for theme in THEMES)
    assert all(f"side.{workload.name} " in out for workload in WORKLOADS)


# -- the peers ---------------------------------------------------------------------------

USE = """
import sys, threading
from pathlib import Path
from benchmarks.peers import REFERENCES
from benchmarks.peers.registry import PEERS, THREADS, served, store_of

peer, directory, sync, count = sys.argv[1:]
directory, sync, count = Path(directory), sync == "True", int(count)
path = directory / "1.log"
total = count * (count - 1) // 2
with served(peer, path, sync=sync):
    store = store_of(peer)(path, sync=sync)
    store.fill(count)
    store.close()
    store = store_of(peer)(path, sync=sync)
    assert store.first() == "root"
    assert store.read() == total
    things = store.everything()
    assert [thing.number for thing in things] == list(range(count))
    assert things[10].others == things[:10]
    store.pick(count - 1)
    assert store.get() == count - 1
    assert store.add() == 1
    assert store.get() == count
    store.put(5)
    assert store.get() == 5
    store.change(3)
    store.close()
    store = store_of(peer)(path, sync=sync)
    store.pick(count - 1)
    assert store.get() == 2
    seen = []

    def look():
        another = store.another()
        another.pick(count - 1)
        seen.append(another.get())

    if THREADS not in PEERS[peer].cannot:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert seen == [2]
    store.close()
path = directory / "2.log"
with served(peer, path, sync=sync):
    store = store_of(peer)(path, sync=sync)
    store.one(REFERENCES)
    store.change(2)
    assert store.get() == 1
    store.close()
"""

STORES = [name for name, peer in PEERS.items() if not peer.is_limit]


@pytest.mark.slow
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("peer", STORES)
def test_peers_do_the_same(peer: str, sync: bool, tmp_path: Path) -> None:
    if not is_installed(peer):
        pytest.skip("it is not installed")
    if sync and SYNC in PEERS[peer].cannot:
        pytest.skip(PEERS[peer].cannot[SYNC])

    program(USE, peer, tmp_path, sync, COUNT)


STREAM = """
import sys
import time
from pathlib import Path
from benchmarks.peers.registry import store_of

peer, directory = sys.argv[1], Path(sys.argv[2])
content = bytes(range(256)) * 5_000
(directory / "source").write_bytes(content)
store = store_of(peer)(directory / "1.log")
store.open_streams()
opened = getattr(store, "database", None)
with (directory / "source").open("rb") as file:
    store.store_stream(file)
assert b"".join(store.read_stream()) == content
assert getattr(store, "database", None) is opened, "opening is no part of what is measured"
store.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("peer", WITH_STREAMS)
def test_peers_store_streams(peer: str, tmp_path: Path) -> None:
    if not is_installed(peer):
        pytest.skip("it is not installed")

    program(STREAM, peer, tmp_path)


def test_the_limit_of_a_commit_appends_as_much_as_ours(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    store = store_of("ours")(path)
    store.one(REFERENCES)
    store.change(10)
    before = path.stat().st_size
    store.change(10)
    written = path.stat().st_size - before
    store.close()

    assert written == 10 * len(RECORD)


OO7 = """
import os, sys
os.environ["OO7_SIZE"] = "tiny"
from benchmarks.oo7 import build, operations
from benchmarks.oo7.plain import classes

module = build(classes)
assemblies = list(module.bases)
parts = {part.number: part for base in assemblies for part in base.components}.values()
atoms = [atom for part in parts for atom in part.parts]

def states():
    return [(atom.x, atom.y, atom.build_date) for atom in atoms]

for operation in operations.WRITES:
    before = states()
    operation(module, classes)
    changed = sum(map(tuple.__ne__, before, states()))
    only_first = operation.__name__.endswith("a")
    assert changed == (len(parts) if only_first else len(atoms)), (operation, changed)
"""


def test_oo7_leaves_nothing_as_it_was_that_it_changes() -> None:
    program(OO7)


# -- results -----------------------------------------------------------------------------


def test_repetitions_of_two_runs_are_added() -> None:
    one = {"1": {"samples": {"ours": {"us": [1.0]}}, "disturbed": [0.1]}}
    other = {
        "1": {"samples": {"ours": {"us": [2.0]}, "zodb": {"us": [3.0]}}, "disturbed": [0.2]},
        "2": {"samples": {"ours": {"us": [4.0]}}, "disturbed": [0.3]},
    }

    assert added(added({}, one), other) == {
        "1": {
            "samples": {"ours": {"us": [1.0, 2.0]}, "zodb": {"us": [3.0]}},
            "disturbed": [0.1, 0.2],
        },
        "2": other["2"],
    }


class Slow:
    """A store of which one increment takes longer than there is time."""

    def add(self) -> int:
        time.sleep(0.03)
        return 2


def test_an_increment_that_ends_late_has_its_own_time() -> None:
    """It counted as one within the time; if there was no other one, nothing could be told."""
    late = together.adds(Slow(), 0.01)
    none = together.adds(Slow(), 0.0)

    for took, tried, taken in late, none:
        assert (tried, len(taken)) == (2, 1)
        assert took >= 0.03
    found = together.figures([late, none])
    assert 0 < found["rate"] < 2 / 0.03
    assert (found["wasted"], 0 < found["fair"] <= 1) == (50, True)
    assert found["p99"] >= 30


def test_the_page_is_what_the_results_give(tmp_path: Path) -> None:
    publish(json.loads(RESULTS.read_text("utf-8")), tmp_path)

    made = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    there = {path.name: path.read_text("utf-8") for path in RESULTS.parent.iterdir()}
    assert made == there


def _measured(**figures: float) -> dict[str, Any]:
    return {"samples": {peer: {"ms": [value]} for peer, value in figures.items()}, "disturbed": []}


def test_an_aim_tells_how_many_times_as_good_we_are() -> None:
    found: dict[str, Any] = {
        "side": {"start": {"10": _measured(ours=10, zodb=40), "100": _measured(ours=20, zodb=30)}},
        "rows": {
            "bench_x": [
                {"what": "d[k]; ref.: ZODB", "unit": "ns", "ours": 5.0, "reference": 20.0},
                {"what": "traversal of 3", "unit": "million/s", "ours": 5.0, "reference": 20.0},
            ]
        },
    }

    assert of_side(Goal("", "start", "ms", "zodb", 1, size=10), found) == 4
    assert of_side(Goal("", "start", "ms", "zodb", 1), found) == 1.5
    assert of_side(Goal("", "start", "ms", "itself", 1), found) == 0.5
    assert of_side(Goal("", "start", "ms", "zodb", 1), found, "plain") is None
    assert of_side(Goal("", "start", "ms", "durus", 1), found) is None
    assert of_side(Goal("", "start", "ms", "itself", 1, size=10), found) is None
    assert of_side(Goal("", "hot", "ns", "zodb", 1), found) is None
    assert of_row(Goal("", "rows", "d[k]; ref.: ZODB", "ZODB", 1), found) == 4
    assert of_row(Goal("", "rows", "traversal of", "plain Python", 1), found) == 0.25
    assert of_row(Goal("", "rows", "l[i]", "plain Python", 1), found) is None


def test_an_aim_is_of_a_figure_that_is_measured() -> None:
    figures = {each.name: {figure.name for figure in each.figures} for each in WORKLOADS}

    peers = {each.name: each.peers for each in WORKLOADS}

    for goal in GOALS:
        assert goal.workload == "rows" or goal.figure in figures[goal.workload], goal
        assert not goal.limit or goal.limit in peers[goal.workload], goal


def test_an_aim_that_no_limit_reaches_is_told_to_be_out_of_reach() -> None:
    goal = Goal("a start", "start", "ms", "zodb", 3, "It takes long.", limit="plain")
    measured = _measured(ours=20, zodb=40, plain=16)
    found: dict[str, Any] = {"side": {"start": {"10": measured}}, "rows": {}}

    assert why_not(goal, found) == ["*plain*: 2.50", "No store can. It takes long."]
    measured["samples"]["plain"]["ms"] = [10]
    assert why_not(goal, found) == ["*plain*: 4.00", "It takes long."]
    del measured["samples"]["plain"]
    assert why_not(goal, found) == ["", "It takes long."]


@pytest.mark.parametrize("logarithmic", [False, True])
def test_a_plot_has_all_lines_within_it(logarithmic: bool) -> None:
    generator = random.Random(1)
    lines = [
        Line(f"line & {n}", [(x, generator.uniform(1, 900)) for x in (1, 2, 4, 8)])
        for n in range(12)
    ]

    picture = plot("title", "x", "y", lines, x_log=logarithmic, y_log=logarithmic)

    root = ElementTree.fromstring(picture)
    marks = [each for each in root.iter() if each.tag.endswith("circle")]
    assert len(marks) == 12 * 4
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    assert all(0 < float(mark.attrib["cx"]) < width for mark in marks)
    assert all(0 < float(mark.attrib["cy"]) < height for mark in marks)
    assert "line &amp; 11" in picture
