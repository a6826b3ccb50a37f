"""The demo: parsing, the graph, several workers, and what is left when one is killed.

A named pipe among the source files stops a worker in the middle of its work at a known
place: it waits for the bytes until the test gives them, or kills somebody.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import transaction
from rich.console import Console

from dobbin_like import cli
from dobbin_like.check import check_database
from dobbin_like.database import Database
from dobbin_like.demo.display import Figures, Progress
from dobbin_like.demo.parse import BUILTINS, ModuleFacts, parse, source_files
from dobbin_like.demo.questions import Questions, inconsistencies
from dobbin_like.demo.run import default_source
from dobbin_like.demo.workers import (
    Workers,
    is_stored,
    prepare,
    shares,
    store,
    store_missing,
    work,
)
from dobbin_like.exc import ConflictError
from dobbin_like.persistent import checkout
from dobbin_like.storage import TransactionLog
from tests.helpers.postgres_server import Server, missing
from tests.helpers.processes import python_path, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 60.0

SHAPES = {
    "canvas.py": """
        '''Draw shapes on a canvas.'''
        import shapes, sys
        from shapes import Shape as S
        class Square(S):
            '''A square.'''
            def area(self, /, scale, *rest, unit=None, **more): ...
            class Corner: ...
        class Disc(shapes.Circle): ...
        class Oops(OSError): ...
        class Odd(make(), S[int]): ...
        async def draw(): ...
        """,
    "shapes/__init__.py": """
        '''Shapes to draw.'''
        from .base import Shape
        from .round import *
        """,
    "shapes/base.py": """
        import abc
        class Shape(abc.ABC):
            def area(self): ...
        """,
    "shapes/round.py": """
        from shapes import base
        class Circle(base.Shape): ...
        if base:
            class Ring(Circle): ...
        else:
            class Ring(Circle): ...
        """,
    "broken.py": "def (",
    "test/skipped.py": "class Skipped: ...",
    "no-identifier.py": "class Skipped: ...",
}


def write(source: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").split("\n")
        indent = len(lines[0]) - len(lines[0].lstrip())
        path.write_text("\n".join(line[indent:] for line in lines), "utf-8")
    return source


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return write(tmp_path / "source", SHAPES)


def store_all(database: Database, source: Path) -> Any:
    library = prepare(database, source)
    for name, path in library.files.items():
        store(library, parse(source, name, path, library.files), "test")
    return library


def tallied(library: Any) -> dict[str, int]:
    return {name: counter.value for name, counter in vars(library.tally).items()}


# -- parsing --------------------------------------------------------------------


def test_source_files_are_modules_outside_of_tests(shapes: Path) -> None:
    assert source_files(shapes) == {
        "broken": "broken.py",
        "canvas": "canvas.py",
        "shapes": "shapes/__init__.py",
        "shapes.base": "shapes/base.py",
        "shapes.round": "shapes/round.py",
    }


def test_what_is_imported_from_a_package_may_be_a_module(shapes: Path) -> None:
    files = source_files(shapes)

    assert parse(shapes, "shapes.round", files["shapes.round"], files).members == ["shapes.base"]
    assert parse(shapes, "canvas", files["canvas"], files).imports == ["shapes", "sys"]
    assert parse(shapes, "shapes", files["shapes"], files).stars == ["shapes.round"]


def test_an_import_from_above_the_top_is_none(tmp_path: Path) -> None:
    (tmp_path / "top.py").write_text("from . import x\nfrom .. import y")

    facts = parse(tmp_path, "top", "top.py", ())

    assert (facts.imports, facts.names) == ([], {})


def test_bases_have_the_names_that_the_file_gives_them(shapes: Path) -> None:
    facts = parse(shapes, "canvas", "canvas.py", source_files(shapes))

    assert {cls.name: cls.bases for cls in facts.classes} == {
        "Square": ("shapes.Shape",),
        "Square.Corner": (),
        "Disc": ("shapes.Circle",),
        "Oops": ("builtins.OSError",),
        "Odd": ("?make()", "shapes.Shape"),
    }


def test_functions_are_kept_with_their_arguments(shapes: Path) -> None:
    facts = parse(shapes, "canvas", "canvas.py", source_files(shapes))

    (area,) = facts.classes[0].methods
    assert area.arguments == ("self", "scale", "*rest", "unit", "**more")
    (draw,) = facts.functions
    assert (draw.name, draw.is_async, draw.line_count) == ("draw", True, 1)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("syntax.py", b"def (", "SyntaxError"),
        ("coding.py", b"# coding: no-such-coding\n", "SyntaxError"),
        ("bytes.py", b"\xff\xfe = 1", "SyntaxError"),
        ("deep.py", b"(" * 10_000 + b")" * 10_000, ""),
        ("gone.py", None, "FileNotFoundError"),
    ],
)
def test_what_is_no_python_is_a_module_with_an_error(
    tmp_path: Path, name: str, content: bytes | None, error: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    facts = parse(tmp_path, "module", name, ())

    assert facts.error.startswith(error)
    assert facts.error
    assert facts.classes == []


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_worker_goes_through_all_names_and_begins_with_others_than_the_rest(
    count: int,
) -> None:
    names = [f"m{number}" for number in range(20)]

    orders = [list(shares(names, number, count)) for number in range(count)]

    assert all(sorted(order) == sorted(names) for order in orders)
    assert [order[0] for order in orders] == names[:count]


# -- the graph ------------------------------------------------------------------


def test_a_file_that_is_stored_twice_counts_once(database: Database, shapes: Path) -> None:
    library = store_all(database, shapes)
    before = tallied(library)

    facts = parse(shapes, "canvas", "canvas.py", library.files)

    assert not store(library, facts, "test")
    assert tallied(library) == before
    assert library.is_complete


def test_imports_and_bases_are_references(database: Database, shapes: Path) -> None:
    library = store_all(database, shapes)

    canvas = library.modules.get("canvas")
    square, _, disc, oops, odd = canvas.classes
    assert canvas.imports[0] is library.modules.get("shapes")
    assert oops.bases == (library.classes.get("builtins.OSError"),)
    assert oops.bases[0].module is library.modules.get("builtins")
    assert odd.bases == ("make()", square.bases[0])
    assert square.methods[0].owner is square
    assert disc.module is canvas
    assert not library.modules.get("sys").is_parsed
    assert library.modules.get("broken").error


def test_what_is_in_the_graph_says_what_it_is(database: Database, shapes: Path) -> None:
    canvas = store_all(database, shapes).modules.get("canvas")

    assert repr([canvas, canvas.classes[2], canvas.functions[0]]) == (
        "[<Module canvas>, <Class canvas.Disc>, <Function draw()>]"
    )


def test_questions_follow_names_through_packages(database: Database, shapes: Path) -> None:
    questions = Questions(store_all(database, shapes))

    (shape,) = questions.find("Shape")
    assert shape.full_name == "shapes.base.Shape"
    assert [(cls.full_name, depth) for cls, depth in questions.subclasses_of(shape)] == [
        ("canvas.Odd", 1),
        ("canvas.Square", 1),
        ("shapes.round.Circle", 1),
        ("canvas.Disc", 2),
        ("shapes.round.Ring", 2),
    ]
    assert [cls.full_name for cls in questions.find("shapes.Circle")] == ["shapes.round.Circle"]
    assert questions.find("NoSuchClass") == []


def test_questions_rank_modules_and_classes(database: Database, shapes: Path) -> None:
    questions = Questions(store_all(database, shapes))

    assert [(m.name, n) for m, n in questions.most_imported(2)] == [("shapes.base", 2), ("abc", 1)]
    assert questions.largest_classes(1)[0].full_name == "canvas.Square"
    derived_from = {cls.full_name: count for cls, count in questions.most_derived_from(99)}
    assert derived_from["shapes.base.Shape"] == 3
    assert [module.name for module in questions.about("Draw")] == ["canvas", "shapes"]


def test_a_function_that_hides_a_module_is_no_import_of_it(
    database: Database, tmp_path: Path
) -> None:
    source = write(
        tmp_path,
        {
            "pack/__init__.py": "from .main import main",
            "pack/main.py": "def main(): ...",
            "user.py": "from pack import main",
        },
    )

    questions = Questions(store_all(database, source))

    assert {m.name: n for m, n in questions.most_imported(9)} == {"pack": 1, "pack.main": 1}


def test_star_imports_in_a_circle_end(database: Database, tmp_path: Path) -> None:
    source = write(
        tmp_path,
        {"a.py": "from b import *", "b.py": "from a import *\nclass C(Missing): ..."},
    )

    questions = Questions(store_all(database, source))

    assert [cls.full_name for cls in questions.find("a.C")] == ["b.C"]
    assert questions.find("a.Missing") == []


@pytest.mark.slow
def test_subclasses_are_those_that_the_interpreter_has(database: Database) -> None:
    library = prepare(database, default_source())
    packages = {"email", "html", "http", "json", "logging", "socketserver", "unittest", "urllib"}
    for name, path in library.files.items():
        if name == BUILTINS or name.partition(".")[0] in packages:
            store(library, parse(Path(library.source), name, path, library.files), "test")
    questions = Questions(library)
    living = {}
    for cls in questions.classes():
        owner = importlib.import_module(cls.module.name)
        found = getattr(owner, cls.full_name.removeprefix(f"{owner.__name__}."), None)
        if isinstance(found, type) and found.__module__ == owner.__name__:
            living[cls.full_name] = found

    for name in ("OSError", "Exception", "json.JSONDecoder", "email.policy.Policy", "HTTPServer"):
        (cls,) = questions.find(name)
        derived = {found.full_name for found, _ in questions.subclasses_of(cls)} & living.keys()
        base = living[cls.full_name]
        true = {n for n, c in living.items() if issubclass(c, base) and c is not base}
        assert derived == true, name
    assert len(living) > 150


# -- conflicts ------------------------------------------------------------------


def test_workers_that_add_different_names_at_once_do_not_conflict(
    database: Database, shapes: Path, again: Callable[..., Database]
) -> None:
    library = store_all(database, shapes)
    other = again()
    theirs = other.root

    for graph, name in ((library, "ours"), (theirs, "theirs")):
        graph.module(name)
        graph.class_named(f"{name}.Class")
        graph.add_words(f"draw {name}", graph.module(name))
        graph.tally.add(ModuleFacts(name, "", line_count=10))
    before = library.tally.lines.value - 10
    other.transaction_manager.commit()
    transaction.commit()

    assert {"ours", "theirs"} <= library.modules.keys()
    assert {"ours.Class", "theirs.Class"} <= library.classes.keys()
    assert {module.name for module in library.words["draw"]} > {"ours", "theirs"}
    assert {"ours", "theirs"} <= library.words.keys()
    assert library.tally.lines.value == before + 20


@pytest.mark.parametrize("index", ["modules", "classes", "words"])
def test_of_two_that_meet_the_same_new_name_at_once_one_runs_again_and_finds_it(
    database: Database, shapes: Path, again: Callable[..., Database], index: str
) -> None:
    library = prepare(database, shapes)
    other = again()

    def meet(graph: Any) -> None:
        canvas = graph.module("canvas")
        meeting = {
            "modules": lambda: graph.module("new"),
            "classes": lambda: graph.class_named("new"),
            "words": lambda: graph.add_words("new", canvas),
        }
        meeting[index]()

    meet(other.root)
    rounds = 0
    for attempt in transaction.manager.attempts(3):
        with attempt:
            rounds += 1
            meet(library)
            if rounds == 1:
                other.transaction_manager.commit()

    other.transaction_manager.begin()
    assert rounds == 2
    assert getattr(library, index)["new"]._p_oid == getattr(other.root, index)["new"]._p_oid


def test_who_only_finds_names_has_checked_no_index_out(database: Database, shapes: Path) -> None:
    library = store_all(database, shapes)
    indexes = library.modules, library.classes, library.words
    before = [index._p_serial for index in indexes]

    library.module("canvas")
    library.class_named("canvas.Square")
    library.add_words("draw shapes", library.module("shapes.base"))
    transaction.commit()

    assert [index._p_serial for index in indexes] == before
    assert library.module("shapes.base") in library.words["draw"]


@pytest.mark.slow
def test_workers_in_step_store_every_file_once(path: Path, shapes: Path) -> None:
    errors: list[BaseException] = []
    start = threading.Barrier(3)

    def work(number: int) -> None:
        try:
            with Database(TransactionLog(path, sync=False)) as database:
                library = prepare(database, shapes)
                start.wait(PATIENCE_SECONDS)
                for name, inner in library.files.items():
                    store(library, parse(shapes, name, inner, library.files), f"{number}")
                transaction.abort()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert errors == []
    assert_complete(path)


def test_a_tally_that_is_wrong_is_found(database: Database, shapes: Path) -> None:
    library = store_all(database, shapes)
    assert list(inconsistencies(library)) == []

    checkout(library.tally.lines, library)
    library.tally.lines.increment()
    library.files = {**library.files, "lost": "lost.py"}

    assert [text.partition(" ")[0] for text in inconsistencies(library)] == [
        "module",
        f"{library.tally.lines.value}",
    ]


def test_a_function_that_leads_elsewhere_is_found(database: Database, shapes: Path) -> None:
    library = store_all(database, shapes)
    canvas = library.modules.get("canvas")

    checkout(canvas.functions[0])
    canvas.functions[0].owner = library.modules.get("shapes")

    assert list(inconsistencies(library)) == ["function draw does not lead back to its owner"]


# -- all of it, with processes ------------------------------------------------------


def assert_complete(path: Path) -> None:
    """Assert that all is there, once."""
    transaction.abort()
    with Database(path) as database:
        library = database.root
        assert library.is_complete
        assert list(inconsistencies(library)) == []
        check_database(database).raise_if_bad()


def command(path: Path, source: Path, *options: str) -> list[str]:
    arguments = ["demo", str(path), "--source", str(source), *options]
    return [sys.executable, "-m", "dobbin_like", *arguments]


def environment() -> dict[str, str]:
    return python_path(COLUMNS="100", PYTHONWARNINGS="error")


def start_demo(path: Path, source: Path, *options: str) -> subprocess.Popen[str]:
    return start(
        command(path, source, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def run_demo(path: Path, source: Path, *options: str) -> str:
    with start_demo(path, source, *options) as process:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, output
    return output


@contextlib.contextmanager
def held(pipe: Path) -> Iterator[None]:
    """Wait until somebody reads *pipe*, and let him wait for the bytes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline, "nobody came to read the pipe"
            time.sleep(0.002)
        else:
            break
    try:
        yield
    finally:
        os.close(fd)


@pytest.fixture
def blocked(tmp_path: Path) -> tuple[Path, Path]:
    """Sources with a pipe, and the pipe: the second of the files, after ``builtins``."""
    source = write(tmp_path / "source", SHAPES)
    pipe = source / "a_pipe.py"
    os.mkfifo(pipe)
    return source, pipe


def unblock(pipe: Path) -> None:
    plain = pipe.with_suffix(".txt")
    plain.write_bytes(b"")
    plain.replace(pipe)


@pytest.mark.slow
def test_the_demo_runs_from_start_to_end_and_says_so_the_next_time(
    path: Path, shapes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["demo", str(path), "--source", str(shapes), "--workers", "2"]

    assert cli.run([*options, "--subclasses-of", "Shape"], "bin/dobbin") == 0

    output = capfd.readouterr().out
    assert f"  bin/dobbin browse {path}\n" in output
    assert "6 files, 6 transactions" in output
    assert "Subclasses of shapes.base.Shape: 5" in output
    assert "Found: no problem" in output
    assert str(path) in output
    assert_complete(path)

    assert cli.run(options) == 0

    output = capfd.readouterr().out
    assert "is complete: 6 files" in output
    assert "Subclasses of builtins.OSError: " in output


@pytest.mark.slow
def test_machines_are_told_what_the_demo_has_found(
    path: Path, shapes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["demo", str(path), "--source", str(shapes), "--workers", "2", "--json"]

    assert cli.run([*options, "--subclasses-of", "Shape"]) == 0

    output, told = capfd.readouterr()
    answers = json.loads(output)
    assert (answers["problems"], answers["complete"]) == ([], True)
    assert len(answers["subclasses"]["shapes.base.Shape"]) == 5
    assert "6 files, 6 transactions" in told
    assert cli.run([*options, "--subclasses-of", "Nothing"]) == 1
    assert json.loads(capfd.readouterr().out)["subclasses"] == {}


@pytest.mark.slow
def test_a_class_that_is_not_there_does_not_keep_the_demo_from_its_check(
    path: Path, shapes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        store_all(database, shapes)

    assert cli.run(["demo", str(path), "--subclasses-of", "Nothing"]) == 1

    output = capfd.readouterr().out
    assert "No class is called 'Nothing'." in output
    assert "Found: no problem" in output


@pytest.mark.slow
def test_the_demo_says_what_its_check_has_found(
    path: Path, shapes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        library = store_all(database, shapes)
        checkout(library.tally.classes)
        library.tally.classes.increment()
        transaction.commit()

    assert cli.run(["demo", str(path)]) == 1

    output = capfd.readouterr().out
    assert "Found: 1 problem.\nWRONG: " in output
    assert "classes were counted" in output


@pytest.mark.slow
def test_workers_that_fail_are_named_and_the_demo_is_not_done(
    path: Path, shapes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        library = prepare(database, shapes)
        checkout(library)
        library.files = {"no path": 5}
        transaction.commit()

    assert cli.run(["demo", str(path), "--workers", "1"]) == 1

    output = capfd.readouterr()
    assert "worker 1 failed with exit code 1" in output.out
    assert "All workers have ended and 1 files are missing" in output.out
    assert "TypeError" in output.err


def test_a_worker_stores_what_is_missing(path: Path, shapes: Path) -> None:
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in signals]
    with Database(TransactionLog(path, sync=False)) as database:
        library = prepare(database, shapes)
        store(library, parse(shapes, "canvas", "canvas.py", library.files), "test")

    try:
        work(os.fspath(path), 1, 2)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)

    assert_complete(path)


def test_a_worker_that_was_told_to_stop_begins_nothing(database: Database, shapes: Path) -> None:
    library = prepare(database, shapes)

    store_missing(database, 0, 1, lambda: is_stored(library, BUILTINS))

    assert library.tally.files.value == 1


def test_a_terminal_shows_the_figures_in_one_place(database: Database, shapes: Path) -> None:
    library = store_all(database, shapes)
    figures = Figures(database, library)
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={})

    with Progress(console, figures, 2) as progress:
        transaction.begin()
        progress.show(1)

    shown = console.file.getvalue()
    assert "6 of 6" in shown
    assert "conflicts retried" in shown
    assert "\x1b[" in shown


def test_figures_count_what_came_since_they_were_begun(
    database: Database, shapes: Path, again: Callable[..., Database]
) -> None:
    library = prepare(database, shapes)
    store(library, parse(shapes, "canvas", "canvas.py", library.files), "test")
    figures = Figures(database, library)
    assert (figures.earlier, figures.files, figures.transactions) == (1, 1, 0)

    other = again()
    checkout(library)
    checkout(other.root)
    other.root.version = "other"
    other.transaction_manager.commit()
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    figures.catch_up()

    assert (figures.transactions, figures.conflicts, figures.total) == (1, 1, 6)
    assert "1 transactions, 1 conflicts retried" in figures.line()


@pytest.mark.slow
def test_ctrl_c_leaves_a_file_that_goes_on(path: Path, blocked: tuple[Path, Path]) -> None:
    source, pipe = blocked
    with start_demo(path, source, "--workers", "1") as process:
        with held(pipe):
            os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 130
    assert "7 files are in" in output
    assert "Traceback" not in output
    with Database(path) as database:
        # What the worker had begun, it has finished.
        assert is_stored(database.root, "a_pipe")

    unblock(pipe)
    run_demo(path, source, "--workers", "1")

    assert_complete(path)


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(path: Path, blocked: tuple[Path, Path]) -> None:
    source, pipe = blocked
    with start_demo(path, source, "--workers", "1") as process:
        with held(pipe):
            process.kill()
            process.wait(PATIENCE_SECONDS)
        process.communicate(timeout=PATIENCE_SECONDS)  # Until nobody has the output open.

    with Database(path) as database:
        assert is_stored(database.root, "a_pipe")
        assert not is_stored(database.root, "shapes")

    unblock(pipe)
    output = run_demo(path, source, "--workers", "1")

    assert "the 5 missing files" in output
    assert_complete(path)


@pytest.mark.slow
def test_another_worker_does_what_a_killed_one_has_left(
    path: Path, blocked: tuple[Path, Path]
) -> None:
    source, pipe = blocked
    with Database(TransactionLog(path, sync=False)) as database:
        prepare(database, source)
    with Workers(os.fspath(path), 2) as workers:
        first, second = workers._processes
        with held(pipe):  # The first file of the second worker, and the last one of the first.
            second.kill()
            second.join(PATIENCE_SECONDS)
            unblock(pipe)
        first.join(PATIENCE_SECONDS)

        assert workers.lost == ["worker 2 was ended by SIGKILL"]
        assert workers.alive == 0

    assert_complete(path)


# -- on a server ----------------------------------------------------------------


def test_the_demo_runs_on_a_server_and_goes_on_there(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing():
        pytest.skip(missing())
    server = Server()
    try:
        server.start()
        uri = server.uri("demo")
        command = ["demo", uri, "--source", str(shapes), "--workers", "2"]
        assert cli.run(command) == 0
        told = capsys.readouterr().out
        assert f"The log is at {uri}" in told
        assert "Found: no problems." in told
        assert cli.run(command) == 0
        assert f"{uri} is complete: 6 files." in capsys.readouterr().out
        assert cli.run(["ask", uri, "--subclasses-of", "Circle"]) == 0
        assert "shapes.round.Ring" in capsys.readouterr().out
        assert cli.run(["follow", uri, str(tmp_path / "replica"), "--once"]) == 0
        assert cli.run(["ask", str(tmp_path / "replica"), "--subclasses-of", "Circle"]) == 0
        assert "shapes.round.Ring" in capsys.readouterr().out
    finally:
        server.remove()


def test_a_uri_that_is_wrong_is_told(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for uri in ("mysql://ada:secret@db/demo", "postgresql://ada:secret@127.0.0.1:1/demo"):
        for command in (["demo", uri, "--source", str(shapes)], ["ask", uri]):
            assert cli.run(command) == 2
            told = capsys.readouterr().err
            assert told.startswith("dobbin: ")
            assert "secret" not in told


def test_ctrl_c_when_all_is_stored_says_so(
    path: Path, shapes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with Database(path) as database:
        store_all(database, shapes)
        transaction.commit()
    monkeypatch.setattr("dobbin_like.demo.run.in_fresh_process", stopped)
    assert cli.run(["demo", str(path), "--source", str(shapes)]) == 130
    assert f"Stopped; all files are in {path}." in capsys.readouterr().out


def test_workers_that_would_share_nothing_are_not_started(
    shapes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["demo", "memory:", "--source", str(shapes)]) == 2
    told = capsys.readouterr()
    assert "the workers share no memory" in told.err
    assert told.out == ""
