"""The subcommands: answers, errors as one line, exit codes. ``demo`` is in test_demo."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import transaction

from dobbin_like import __version__, cli
from dobbin_like.__main__ import main
from dobbin_like.cli import look
from dobbin_like.cli.differences import differences
from dobbin_like.cli.values import Values
from dobbin_like.database import Database
from dobbin_like.demo.parse import ModuleFacts, parse
from dobbin_like.demo.workers import prepare, store
from dobbin_like.log.file.new_file import NewFile
from dobbin_like.persistent import (
    PersistentCounter,
    PersistentDict,
    PersistentList,
    PersistentSet,
    checkout,
)
from dobbin_like.storage import TransactionLog
from tests.helpers import processes
from tests.helpers.terminal import open_terminal
from tests.helpers.transactions import fail

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = cli.dobbin.list_commands(click.Context(cli.dobbin))

READERS = ["census", "check", "info", "log"]
"""Commands that need a path only, and write nothing."""


@pytest.fixture
def history(path: Path) -> str:
    """A log of three transactions and one that failed."""
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentDict())
        commit("ann", "elected the root")
        for number in range(2):
            checkout(database.root)
            database.root[number] = PersistentList()
            commit("bob", f"list {number}")
        fail(path, database, user="cid")
    return str(path)


def commit(user: str, description: str) -> None:
    current = transaction.get()
    current.user = user
    current.note(description)
    transaction.commit()


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.run(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def python(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *args]
    return processes.run(command, cwd=ROOT, capture_output=True, text=True, **options)


# -- what there is ----------------------------------------------------------------


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")

    assert code == 0
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert max(map(len, out.splitlines())) <= 80


def test_help_imports_no_command() -> None:
    code = (
        "import sys; from dobbin_like.__main__ import main; main(['--help']); "
        "print([name for name in sys.modules if name in ('rich', 'dobbin_like.database')])"
    )

    assert python("-c", code).stdout.endswith("\n[]\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, name, "--help")

    assert code == 0
    assert out.startswith(f"Usage: dobbin {name} ")
    assert f"\n  Example: dobbin {name} " in out
    assert f"\n  {summaries()[name]}\n" in out  # As in the list of all.
    assert max(map(len, out.splitlines())) <= 80
    assert "--source" not in out
    # One runs a program, and one speaks JSON.
    assert (" --json " in out) == (name not in ("shell", "mcp"))


def summaries() -> dict[str, str]:
    return {name: text for topic in cli._COMMANDS.values() for name, (_, text) in topic.items()}


def test_a_command_that_is_mistyped_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "hsitory", "x.log")

    assert code == 2
    assert "No such command 'hsitory'. Did you mean 'history'?" in err


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"dobbin_like {__version__}\n", "")


@pytest.mark.parametrize(
    "args",
    [[], ["nothing"], ["log"], ["demo", "--workers", "0"], ["log", "x", "--limit", "-1"]],
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    code, out, err = run(capsys, *args)

    assert code == 2
    assert out == ""
    assert "Usage:" in err


# -- errors --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ask", "check", "info", "log"])
def test_a_file_that_is_not_there_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], path: Path, name: str
) -> None:
    code, _, err = run(capsys, name, str(path))

    assert code == 2
    assert "does not exist" in err
    assert not path.exists()


@pytest.mark.parametrize("text", ["hello\n", 10_000 * "hello\n"], ids=["short", "long"])
@pytest.mark.parametrize("name", ["ask", "census", "check", "demo", "info", "log", "show", "top"])
def test_a_file_that_is_no_log_is_one_line(
    capsys: pytest.CaptureFixture[str], path: Path, name: str, text: str
) -> None:
    path.write_text(text)

    code, out, err = run(capsys, name, str(path))

    assert (code, out) == (2, "")
    assert err.startswith(f"dobbin: {path}: not a dobbin_like log")
    assert err.count("\n") == 1
    assert path.read_text() == text


@pytest.mark.parametrize("name", ["check", "info", "show"])
def test_what_is_no_file_is_one_line(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, err = run(capsys, name, "/dev/null")

    assert (code, out) == (2, "")
    assert err.startswith("dobbin: /dev/null: not a dobbin_like log: it is no regular file")


@pytest.mark.parametrize("name", ["ask", "demo"])
def test_a_database_of_something_else_is_left_alone(
    capsys: pytest.CaptureFixture[str], history: str, name: str
) -> None:
    before = Path(history).read_bytes()

    code, out, err = run(capsys, name, history)

    assert (code, out) == (2, "")
    assert err.startswith(f"dobbin: {history}: this database was not made by the demo")
    assert Path(history).read_bytes() == before


def test_a_directory_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / "x.log"

    code, _, err = run(capsys, "demo", str(path))

    assert code == 2
    assert err == f"dobbin: {path.parent}: No such file or directory\n"


def test_a_demo_that_another_python_has_begun_is_left_alone(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        library = prepare(database, tmp_path)
        checkout(library)
        library.version = "2.7.18"
        transaction.commit()

    code, _, err = run(capsys, "demo", str(path))

    assert code == 2
    assert "it was begun with Python 2.7.18" in err


# -- answers -------------------------------------------------------------------------


def test_log_lists_the_newest_first_and_what_failed(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    code, out, err = run(capsys, "log", history)

    lines = [" ".join(line.split()[3:]) for line in out.splitlines()[1:]]
    assert code == 0
    assert lines[2:] == [
        "bob 2 list 1",
        "bob 2 list 0",
        "ann 1 elected the root",
    ]
    assert lines[0].startswith("cid - FAILED (conflict: PersistentDict oid 0) too late")
    assert len(lines) == 5
    assert err == ""


def test_log_shows_no_more_than_the_limit(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    code, out, err = run(capsys, "log", history, "--limit", "1")

    assert code == 0
    assert "too late" in out
    assert "list 1" not in out
    assert err == "there are more; use --limit 0 to show all\n"
    assert len(run(capsys, "log", history, "--limit", "0")[1].splitlines()) == 6


def test_info_counts_and_names_the_root(capsys: pytest.CaptureFixture[str], history: str) -> None:
    code, out, _ = run(capsys, "info", history)

    facts = {line[:13].rstrip(): line[14:] for line in out.splitlines()}
    assert code == 0
    assert facts["file"] == str(Path(history).resolve())
    assert facts["transactions"] == "5, of which 1 failed"
    assert facts["objects"] == "3"
    assert facts["root"] == "dobbin_like.persistent.PersistentDict"
    assert "\n              dobbin_like.persistent.PersistentList\n" in out


def test_census_counts_by_class(capsys: pytest.CaptureFixture[str], history: str) -> None:
    code, out, err = run(capsys, "census", history)
    as_json = json.loads(run(capsys, "census", history, "--json")[1])

    assert (code, err) == (0, "")
    assert [(line.split()[0], line.split()[-1]) for line in out.splitlines()] == [
        ("objects", "class"),
        ("1", "dobbin_like.persistent.PersistentDict"),
        ("2", "dobbin_like.persistent.PersistentList"),
        ("3", "all"),
    ]
    assert as_json["objects"] == 3
    assert as_json["bytes"] == sum(count["bytes"] for count in as_json["classes"])
    assert as_json["classes"][1]["objects"] == 2


def test_census_counts_what_can_be_read_of_a_log_that_can_not_be_opened(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    with TransactionLog(history, read_only=True) as log:
        first, second = [logged.end for logged in log.transactions()][:2]
    data = bytearray(Path(history).read_bytes())
    data[first : first + 4] = b"\xff" * 4
    Path(history).write_bytes(data)

    code, out, err = run(capsys, "census", history)
    as_json = json.loads(run(capsys, "census", history, "--json")[1])

    assert code == 1
    assert err.startswith(f"dobbin: {history}:{first}: frame checksum ffffffff, expected ")
    assert err.endswith("; this is what can be read\n")
    lines = out.splitlines()
    counts = [(line.split()[0], line.split()[-1]) for line in lines if "damaged" not in line]
    assert counts == [
        ("objects", "class"),
        ("1", "dobbin_like.persistent.PersistentDict"),
        ("2", "dobbin_like.persistent.PersistentList"),
        ("3", "all"),
    ]
    assert lines[-1].startswith(f"damaged: {first} to ")
    assert as_json["objects"] == 3
    [damaged] = as_json["damaged"]
    assert damaged["offset"] == first
    assert damaged["end"] <= second


def test_census_tells_of_what_is_no_log(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "foreign").write_bytes(b"no log at all" * 1000)

    assert run(capsys, "census", str(tmp_path / "foreign"))[0] == 2


@pytest.mark.parametrize("name", READERS)
def test_an_empty_log_is_fine(capsys: pytest.CaptureFixture[str], path: Path, name: str) -> None:
    path.touch()

    assert run(capsys, name, str(path))[0] == 0


def test_check_finds_nothing_in_a_whole_log(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    code, out, _ = run(capsys, "check", history)

    assert code == 0
    assert "5 transactions (1 failed), 3 objects" in out


def test_check_finds_damage(capsys: pytest.CaptureFixture[str], history: str) -> None:
    data = bytearray(Path(history).read_bytes())
    data[data.index(b"list 0")] ^= 1
    Path(history).write_bytes(data)

    code, out, _ = run(capsys, "check", history)

    assert code == 1
    assert f"{history}:" in out


def test_damage_is_one_line_elsewhere(capsys: pytest.CaptureFixture[str], history: str) -> None:
    data = bytearray(Path(history).read_bytes())
    data[data.index(b"list 0")] ^= 1
    Path(history).write_bytes(data)

    code, out, err = run(capsys, "info", history)

    assert (code, out) == (1, "")
    assert err.startswith(f"dobbin: {history}:")
    assert err.endswith(f"run `dobbin check {history}`\n")
    assert err.count("\n") == 1


def test_a_hint_names_the_command_as_it_was_called(history: str) -> None:
    damage(history, b"list 0")

    result = python("-m", "dobbin_like", "info", history)

    assert result.stderr.endswith(f"run `python -m dobbin_like check {history}`\n")


@pytest.mark.parametrize("is_found", [True, False])
def test_a_hint_has_the_path_of_a_script_that_a_shell_does_not_find(
    history: str, tmp_path: Path, is_found: bool
) -> None:
    damage(history, b"list 0")
    script = tmp_path / "dobbin"
    script.write_text("import sys; from dobbin_like.__main__ import main; sys.exit(main())")
    script.chmod(0o700)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": str(tmp_path) if is_found else ""}

    result = python(str(script), "info", history, env=env)

    called = "dobbin" if is_found else script
    assert result.stderr.endswith(f"run `{called} check {history}`\n")


def test_ask_says_when_there_is_no_such_class(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        library = prepare(database, tmp_path)
        store(library, ModuleFacts("builtins", "", doc="Words to find."), "test")

    code, out, _ = run(capsys, "ask", str(path), "--subclasses-of", "Nothing", "--about", "find")

    assert code == 1
    assert "Modules whose docstrings contain 'find': 1" in out
    assert "No class is called 'Nothing'." in out
    code, out, _ = run(capsys, "ask", str(path), "--subclasses-of", "Nothing", "--json")
    assert code == 1
    assert json.loads(out)["subclasses"] == {}


def test_ask_shows_the_first_of_many_subclasses(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        library = prepare(database, tmp_path)
        store(library, parse(tmp_path, "builtins", "", library.files), "test")

    code, out, _ = run(capsys, "ask", str(path), "--subclasses-of", "BaseException")

    assert code == 0
    assert "      builtins.BrokenPipeError" in out
    as_json = json.loads(run(capsys, "ask", str(path), "--json")[1])
    assert "builtins.BrokenPipeError" in as_json["subclasses"]["builtins.OSError"]
    assert as_json["complete"] is True
    assert "more" in out.splitlines()[-2]


def test_ask_says_that_a_demo_has_not_ended(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        prepare(database, tmp_path)

    _, out, _ = run(capsys, "ask", str(path))

    assert "0 of 1 files are stored" in out


def test_what_only_reads_does_not_write(capsys: pytest.CaptureFixture[str], history: str) -> None:
    before = Path(history).read_bytes()
    Path(history).chmod(0o444)

    for name in READERS:
        assert run(capsys, name, history)[0] == 0
    assert run(capsys, "history", history, "0")[0] == 0
    assert run(capsys, "backup", history, f"{history}.backup")[0] == 0
    assert run(capsys, "repair", history, f"{history}.mended")[0] == 0

    assert Path(history).read_bytes() == before


# -- which transactions ------------------------------------------------------------


def descriptions(capsys: pytest.CaptureFixture[str], history: str, *args: str) -> list[str]:
    code, out, _ = run(capsys, "log", history, "--json", *args)
    assert code == 0
    return [json.loads(line)["description"] for line in out.splitlines()]


def test_log_tells_machines_everything(capsys: pytest.CaptureFixture[str], history: str) -> None:
    lines = run(capsys, "log", history, "--json")[1].splitlines()

    newest = json.loads(lines[0])
    assert newest["failed"] is True
    assert newest["user"] == "cid"
    assert newest["reason"].startswith("conflict")
    assert datetime.fromisoformat(newest["time"]).tzinfo is not None
    assert [json.loads(line)["tid"] for line in lines] == sorted(
        [json.loads(line)["tid"] for line in lines], reverse=True
    )


def test_log_shows_the_failed_ones_alone(capsys: pytest.CaptureFixture[str], history: str) -> None:
    assert descriptions(capsys, history, "--failed") == ["too late"]


def test_log_begins_and_ends_where_it_is_told_to(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    with TransactionLog(history, read_only=True) as storage:
        tids = [logged.tid for logged in storage.transactions()]
    moment = datetime.fromtimestamp(tids[0] / 1e6, UTC) - timedelta(seconds=1)

    assert descriptions(capsys, history, "--since", str(tids[3])) == ["too late"]
    assert descriptions(capsys, history, "--until", str(tids[0])) == ["elected the root"]
    assert len(descriptions(capsys, history, "--since", moment.isoformat())) == 5
    assert descriptions(capsys, history, "--until", moment.isoformat()) == []
    assert len(descriptions(capsys, history, "--since", "2w")) == 5
    assert descriptions(capsys, history, "--oldest-first", "-n", "1") == ["elected the root"]


def test_a_time_that_is_none_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    for moment in ("yesterday", "999999999w", "0001-01-01"):
        code, _, err = run(capsys, "log", history, "--since", moment)
        assert code == 2
        assert f"{moment!r} is not a tid" in err


# -- one object ----------------------------------------------------------------------


def test_history_tells_what_was_changed(capsys: pytest.CaptureFixture[str], history: str) -> None:
    code, out, err = run(capsys, "history", history, "0", "--limit", "2")

    lines = out.splitlines()
    assert code == 0
    assert "theirs" in lines[1]
    assert " -> " in lines[1]
    assert lines[2].endswith("  bob  list 1")
    assert err == "there are more; use --limit 0 to show all\n"


@pytest.mark.parametrize(
    ("made", "change", "told"),
    [
        (
            PersistentDict({"a": 1, "b": 2, "c": 3}),
            lambda d: (d.update(b=True, d=4), d.pop("a")),
            {
                "['b']": {"old": 2, "new": True},
                "['d']": {"new": 4},
                "['a']": {"old": 1},
            },
        ),
        (
            PersistentDict({"a": 1, "b": 2}),
            lambda d: d.update(a=d.pop("a")),
            {"_items": {"old": {"a": 1, "b": 2}, "new": {"b": 2, "a": 1}}},
        ),
        (
            PersistentSet({1, 2}),
            lambda s: (s.remove(1), s.update([4, 3])),
            {"[3]": {"new": 3}, "[4]": {"new": 4}, "[1]": {"old": 1}},
        ),
        (
            PersistentList([1]),
            lambda x: x.extend("ab"),
            {"[1]": {"new": "a"}, "[2]": {"new": "b"}},
        ),
        (
            PersistentList([1, 2]),
            lambda x: x.reverse(),
            {"_items": {"old": [1, 2], "new": [2, 1]}},
        ),
        (PersistentList([1]), lambda x: x.insert(0, 2), {"_items": {"old": [1], "new": [2, 1]}}),
        (
            PersistentCounter(5),
            lambda c: c.increment(2),
            {"_value": {"old": 5, "new": 7}, "_changes": {"old": 0, "new": 1}},
        ),
    ],
)
def test_history_tells_of_a_collection_the_items_that_were_changed(
    capsys: pytest.CaptureFixture[str], path: Path, made: Any, change: Any, told: Any
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        database.set_root(PersistentList([copy.copy(made)]))
        transaction.commit()
        checkout(database.root[0])
        change(database.root[0])
        transaction.commit()

    [first, _] = run(capsys, "history", str(path), "1", "--json")[1].splitlines()

    assert json.loads(first)["changed"] == told


def test_items_that_look_alike_are_told_apart() -> None:
    one, other = "x" * 300 + "1", "x" * 300 + "2"

    found = list(differences({"_items": set()}, {"_items": {one, other}}, Values(str)))

    assert found[1].name == f"{found[0].name} #2"


def test_history_tells_machines_everything(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    out = run(capsys, "history", history, "1", "--json")[1]

    [revision] = map(json.loads, out.splitlines())
    assert (revision["user"], revision["description"]) == ("bob", "list 0")
    assert revision["changed"] == {"_items": {"new": []}}


def test_an_object_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    code, out, err = run(capsys, "history", history, "77")

    assert (code, out) == (2, "")
    assert err == "dobbin: there is no object with oid 77\n"


# -- looking after a log --------------------------------------------------------------


def damage(history: str, text: bytes) -> None:
    data = bytearray(Path(history).read_bytes())
    at = data.index(text)
    data[at : at + len(text)] = bytes(len(text))
    Path(history).write_bytes(data)


def test_check_tells_machines_everything(capsys: pytest.CaptureFixture[str], history: str) -> None:
    damage(history, b"list 0")

    code, out, err = run(capsys, "check", history, "--json")

    report = json.loads(out)
    assert (code, err) == (1, "")
    assert report["ok"] is False
    assert {"invariant", "place", "found", "expected", "offset"} == set(report["problems"][0])


def test_check_says_which_classes_cannot_be_loaded(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    program = f"""if True:
        import sys, types
        module = sys.modules["vanished"] = types.ModuleType("vanished")
        exec("from dobbin_like import Persistent\\nclass Gone(Persistent): pass", vars(module))
        import transaction
        from dobbin_like import Database
        with Database({str(path)!r}) as database:
            database.set_root(module.Gone())
            transaction.commit()
    """
    assert python("-c", program).returncode == 0

    assert run(capsys, "check", str(path))[0] == 0
    code, _, err = run(capsys, "check", str(path), "--allow", "vanished")
    assert (code, "'vanished' names no class; expected 'vanished.*'" in err) == (2, True)
    code, out, _ = run(capsys, "check", str(path), "--allow", "vanished.*")
    assert code == 1
    assert "vanished.Gone (1 object) can't be loaded" in out


def test_repair_saves_what_can_be_read(capsys: pytest.CaptureFixture[str], history: str) -> None:
    damage(history, b"list 0")
    to = f"{history}.mended"

    assert f"`dobbin repair {history} TO` saves what" in run(capsys, "check", history)[2]

    code, out, _ = run(capsys, "repair", history, to)

    assert code == 1
    assert "5 transactions (1 failed)" in out
    assert run(capsys, "check", to)[0] == 0
    assert run(capsys, "repair", history, to)[0] == 2
    Path(to).unlink()
    code, out, _ = run(capsys, "repair", history, to, "--json")
    assert json.loads(out)["losses"][0]["tid"]


def test_repair_of_a_sound_log_is_fine(capsys: pytest.CaptureFixture[str], history: str) -> None:
    assert run(capsys, "repair", history, f"{history}.mended")[0] == 0


def test_a_backup_is_brought_up_to_date(capsys: pytest.CaptureFixture[str], history: str) -> None:
    to = f"{history}.backup"

    first = run(capsys, "backup", history, to)
    with Database(TransactionLog(history, sync=False)) as database:
        checkout(database.root)
        database.root["more"] = 1
        commit("ann", "more")
    second = run(capsys, "backup", history, to, "--json")

    assert first[0] == 0
    assert "copied in full, 5 transactions" in first[1]
    assert json.loads(second[1])["transactions"] == 1
    assert descriptions(capsys, to, "-n", "1") == ["more"]


def test_a_backup_is_restored(capsys: pytest.CaptureFixture[str], history: str) -> None:
    to = f"{history}.backup"
    run(capsys, "backup", history, to)
    with Database(TransactionLog(history, sync=False)) as database:
        checkout(database.root)
        database.root["more"] = 1
        commit("ann", "more")

    code, out, _ = run(capsys, "restore", to, history)

    assert code == 0
    assert "restored, 5 transactions" in out
    assert "1 later transaction is gone" in out
    assert descriptions(capsys, history, "-n", "1") == descriptions(capsys, to, "-n", "1")
    assert json.loads(run(capsys, "restore", to, history, "--json")[1])["dropped"] == 0


def test_of_a_damaged_backup_the_beginning_is_restored_if_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    to = Path(f"{history}.backup")
    data = Path(history).read_bytes()
    to.write_bytes(data[:-100])

    code, out, err = run(capsys, "restore", str(to), history)
    assert (code, out, Path(history).read_bytes()) == (2, "", data)
    assert "(--prefix)" in err

    assert run(capsys, "restore", str(to), history, "--prefix")[0] == 0
    assert run(capsys, "check", history)[0] == 0


def test_a_backup_over_another_database_is_refused(
    capsys: pytest.CaptureFixture[str], history: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.log"
    with Database(TransactionLog(other, sync=False)) as database:
        database.set_root(PersistentDict())
        commit("ann", "another")
    with other.open("ab") as file:
        file.write(b"left by one that died")
    before = other.read_bytes()

    code, out, err = run(capsys, "backup", history, str(other))

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert other.read_bytes() == before


def test_a_log_is_packed(capsys: pytest.CaptureFixture[str], history: str) -> None:
    before = Path(history).read_bytes()

    code, out, _ = run(capsys, "pack", history, "--dry-run", "--json")
    would = json.loads(out)
    assert (code, would["packed"]) == (0, False)
    assert 0 < would["garbage"] < 1
    assert Path(history).read_bytes() == before

    code, out, _ = run(capsys, "pack", history)
    assert code == 0
    assert "dropped 0 of 3 objects" in out
    assert run(capsys, "check", history)[0] == 0
    assert json.loads(run(capsys, "info", history, "--json")[1])["packed"] == 1


def test_a_pack_keeps_what_it_is_told_to(capsys: pytest.CaptureFixture[str], history: str) -> None:
    assert run(capsys, "pack", history, "--keep", "1d")[0] == 0

    assert len(descriptions(capsys, history)) == 5


def test_a_snapshot_is_a_log_of_its_own(capsys: pytest.CaptureFixture[str], history: str) -> None:
    before = Path(history).read_bytes()
    with TransactionLog(history, read_only=True) as storage:
        first = next(storage.transactions()).tid

    assert run(capsys, "snapshot", history, f"{history}.now")[0] == 0
    code, out, _ = run(
        capsys, "snapshot", history, f"{history}.then", "--at", str(first), "--json"
    )

    assert (code, json.loads(out)["objects"]) == (0, 1)
    for name, objects in (("now", 3), ("then", 1)):
        facts = json.loads(run(capsys, "info", f"{history}.{name}", "--json")[1])
        assert (facts["transactions"], facts["objects"]) == (1, objects)
        assert run(capsys, "check", f"{history}.{name}")[0] == 0
    assert run(capsys, "snapshot", history, f"{history}.now")[0] == 2
    assert Path(history).read_bytes() == before


def test_of_a_log_without_a_root_is_no_snapshot(
    capsys: pytest.CaptureFixture[str], path: Path
) -> None:
    path.touch()

    code, _, err = run(capsys, "snapshot", str(path), f"{path}.now")

    assert (code, err) == (2, f"dobbin: {path}: there is no root yet\n")
    assert not Path(f"{path}.now").exists()


def test_an_empty_log_is_created(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    assert run(capsys, "init", str(path)) == (0, f"{path}: 0 transactions\n", "")

    code, out, _ = run(capsys, "init", str(path), "--json")

    assert (code, json.loads(out)) == (0, {"path": str(path), "transactions": 0})


def test_a_class_is_renamed(
    capsys: pytest.CaptureFixture[str], history: str, tmp_path: Path
) -> None:
    (tmp_path / "dobbin_shop.py").write_text(
        "from dobbin_like import Persistent\nclass Cart(Persistent): pass\n"
    )
    command = ["-m", "dobbin_like", "rename-class", history]
    names = ["dobbin_like.persistent.PersistentList", "dobbin_shop.Cart"]

    result = processes.run(
        [sys.executable, *command, *names],
        cwd=tmp_path,
        env=processes.python_path(),
        capture_output=True,
        text=True,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(run(capsys, "info", history, "--json")[1])["classes"] == [
        "dobbin_like.persistent.PersistentDict",
        "dobbin_shop.Cart",
    ]


def test_a_class_that_nobody_knows_is_one_line(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    before = Path(history).read_bytes()

    code, out, err = run(capsys, "rename-class", history, "shop.Nothing", "shop.Cart")

    assert (code, out) == (2, "")
    assert err.startswith("dobbin: ")
    assert err.count("\n") == 1
    assert Path(history).read_bytes() == before


# -- terminals and interrupts ------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ("pack {0} --keep 9000000000000000", "is after the last one"),
        ("pack {0} --keep 2999-01-01", "in the future"),
        ("snapshot {0} {0}.to --at 1", "before the first one"),
        ("snapshot {0} {0}.to --at 2999-01-01", "in the future"),
        ("snapshot {0} {0}", "a file is there already; give another path"),
        ("backup {0} {0}", "this is the database itself"),
        ("restore {0} {0}", "this is the backup itself"),
        ("repair {0} {0}", "a file is there already; give another path"),
        ("backup {0} {0}.d/x", ".d: No such file or directory"),
        ("restore {0} {0}.d/x", ".d: No such file or directory"),
        ("snapshot {0} {0}.d/x", ".d: No such file or directory"),
        ("repair {0} {0}.d/x", ".d: No such file or directory"),
        ("export {0} --to json {0}.d/x", ".d: No such file or directory"),
        ("export {0} --to sqlite {0}.d/x", ".d: No such file or directory"),
        ("copy {0} {0}.d/x", ".d: No such file or directory"),
        ("init {0}.d/x", ".d: No such file or directory"),
        ("history {0} 1000", "there is no object with oid 1000"),
        ("rename-class {0} shop.Cart Basket", "'Basket' is no name of a class"),
        ("rename-class {0} shop.Cart dobbin_like.no.Such", "can't be loaded"),
        ("rename-class {0} dobbin_like.persistent.PersistentList datetime.date", "can't rename"),
    ],
)
def test_what_can_not_be_done_is_one_line_and_changes_nothing(
    capsys: pytest.CaptureFixture[str], history: str, args: str, text: str
) -> None:
    before = Path(history).read_bytes()

    code, out, err = run(capsys, *args.format(history).split())

    assert (code, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1
    assert Path(history).read_bytes()[4096:] == before[4096:]
    assert sorted(Path(history).parent.iterdir()) == [Path(history)]


@pytest.mark.parametrize(
    ("args", "title"),
    [
        ("check {0}", b"checking"),
        ("pack {0}", b"packing"),
        ("backup {0} {0}.to", b"copying"),
        ("restore {0} {0}.to", b"restoring"),
        ("snapshot {0} {0}.to", b"writing"),
        ("repair {0} {0}.to", b"repairing"),
    ],
)
def test_a_bar_is_drawn_on_a_terminal_only(history: str, args: str, title: bytes) -> None:
    arguments = args.format(history).split()
    command = [sys.executable, "-m", "dobbin_like", *arguments]
    seen = []
    leader, follower = open_terminal()
    with processes.start(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=follower):
        os.close(follower)
        with contextlib.suppress(OSError):  # The other end is closed.
            while data := os.read(leader, 1000):
                seen.append(data)
    os.close(leader)

    assert title in b"".join(seen)
    Path(f"{history}.to").unlink(missing_ok=True)
    assert python("-m", "dobbin_like", *arguments).stderr == ""


def test_ctrl_c_is_one_line(
    capsys: pytest.CaptureFixture[str], history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_args: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(look, "check_log", interrupted)

    code, out, err = run(capsys, "check", history)

    assert (code, out) == (130, "")
    assert err.strip() == "dobbin: stopped; every file is unchanged or complete"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ignored", [False, True])
def test_other_signals_end_it_as_ctrl_c_does(
    capsys: pytest.CaptureFixture[str],
    history: str,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    *,
    ignored: bool,
) -> None:
    def ended(file: NewFile, *, replace: bool) -> None:
        assert Path(file.path).exists()
        assert replace
        os.kill(os.getpid(), number)

    copy = Path(f"{history}.copy")
    monkeypatch.setattr(NewFile, "put", ended)
    before = signal.getsignal(signal.SIGINT)
    if ignored:  # As in the background of a shell.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code, _, err = run(capsys, "backup", history, str(copy))
    finally:
        signal.signal(signal.SIGINT, before)

    assert (code, err.strip()) == (
        128 + number,
        "dobbin: stopped; every file is unchanged or complete",
    )
    assert not [*copy.parent.glob(f"{copy.name}*")]
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
def test_a_signal_in_a_destructor_ends_it_too(
    capsys: pytest.CaptureFixture[str], history: str, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    class Ended:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)  # Where the interrupt comes, and Python drops it.

    def work(*_args: object) -> None:
        Ended()
        time.sleep(20)

    def start(timer: threading.Timer) -> None:
        if again:
            os.kill(os.getpid(), signal.SIGTERM)
        threading.Thread.start(timer)

    monkeypatch.setattr(threading.Timer, "start", start)
    monkeypatch.setattr(look, "check_log", work)
    before = sys.unraisablehook

    code, _, err = run(capsys, "check", history)

    assert (code, err.strip()) == (
        128 + signal.SIGTERM,
        "dobbin: stopped; every file is unchanged or complete",
    )
    assert sys.unraisablehook is before


def test_an_interrupt_that_is_dropped_does_not_repeat_a_signal_that_was_not(
    capsys: pytest.CaptureFixture[str], history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)

    ended = []

    def work(*_args: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        finally:
            Interrupted()
            time.sleep(0.1)
            ended.append(True)

    monkeypatch.setattr(look, "check_log", work)
    monkeypatch.setattr(sys, "unraisablehook", lambda _dropped: None)  # It tells of Ctrl-C.
    code, _, _ = run(capsys, "check", history)

    assert (code, ended) == (128 + signal.SIGTERM, [True])


# -- from outside ----------------------------------------------------------------------


def test_the_package_does_not_import_what_only_the_command_line_needs() -> None:
    code = "import sys, dobbin_like; print(sorted({'click', 'rich'} & sys.modules.keys()))"

    assert python("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_names_it(missing: str, history: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\n"
    code += f"from dobbin_like.__main__ import main; sys.exit(main(['top', {history!r}]))"

    result = python("-c", code)

    assert result.returncode == 2
    assert result.stderr == (
        f"dobbin: the command line needs {missing}; pip install 'dobbin_like[cli]'\n"
    )


def test_another_module_that_is_missing_is_not_blamed_on_the_extra() -> None:
    code = "import sys; sys.modules['transaction'] = None\n"
    code += "from dobbin_like.__main__ import main; sys.exit(main())"

    assert "ModuleNotFoundError" in python("-c", code).stderr


def test_the_console_script_is_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dobbin_like {__version__}\n"


def test_the_module_is_the_command() -> None:
    result = python("-m", "dobbin_like", "--version")

    assert (result.returncode, result.stdout) == (0, f"dobbin_like {__version__}\n")


def test_a_reader_that_has_read_enough_is_no_error(history: str) -> None:
    command = [sys.executable, "-m", "dobbin_like", "log", history]
    with processes.start(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert process.stderr.read() == ""


def test_where_no_report_can_be_written_that_is_told(history: str) -> None:
    with Path("/dev/full").open("w") as full:
        result = processes.run(
            [sys.executable, "-m", "dobbin_like", "backup", history, f"{history}.copy"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=processes.python_path(),
        )

    assert result.returncode == 2
    assert result.stderr == "dobbin: standard output: No space left on device\n"
    assert Path(f"{history}.copy").exists()


@pytest.mark.parametrize("args", [["export"], ["top", "--once"], ["find"], ["info", "--json"]])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_may_be_closed(history: str, args: list[str], closed: str) -> None:
    more = ["dobbin_like.*", "-n", "1"] if args == ["find"] else []
    command = f'"$@" {closed}'
    result = processes.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "dobbin_like", *args, history, *more],
        capture_output=True,
        text=True,
        env=processes.python_path(),
    )

    assert result.returncode == 0
    assert result.stderr in ("", "there are more; use --limit 0 to show all\n")
    assert "there are more" not in result.stdout
    assert bool(result.stdout) is (closed == "2>&-")


# -- URIs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "instead"),
    [
        (["backup", "URI", "b.log"], "dobbin follow"),
        (["browse", "URI"], "dobbin follow"),
        (["repair", "URI", "b.log"], "restore its backup"),
        (["follow", "a.log", "URI"], "dobbin copy"),
        (["import", "a.jsonl", "URI"], "dobbin copy"),
        (["snapshot", str(ROOT / "setup.cfg"), "URI"], "dobbin copy"),
        (["restore", "URI", "b.log"], "dobbin copy"),
        (["restore", str(ROOT / "setup.cfg"), "URI"], "dobbin copy"),
        (["top", "URI"], "pg_stat_activity"),
    ],
)
def test_what_is_for_files_only_says_what_to_do_about_a_uri(
    command: list[str], instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("starlette")
    for uri in ("postgresql://ada:secret@db.example/shop", "postgresql:///shop?password=secret"):
        assert cli.run([uri if each == "URI" else each for each in command]) == 2
        told = capsys.readouterr().err
        assert f"dobbin {command[0]} takes a file as " in told
        assert instead in told
        assert "secret" not in told
        assert told.count("\n") == 1


@pytest.mark.parametrize("uri", ["file:data.log", "file:./data%2Elog?sync=no", "file://{}"])
def test_a_file_may_be_named_by_its_uri(
    uri: str, path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Database(path) as database, database.transaction():
        database.set_root(PersistentDict(n=1))
    monkeypatch.chdir(path.parent)
    uri = uri.format(path)
    for command in (
        ["info", uri],
        ["show", uri],
        ["census", uri],
        ["log", uri],
        ["tree", uri],
        ["find", uri, "PersistentDict"],
        ["history", uri, "0"],
        ["diff", uri, "0", "now"],
        ["check", uri, "--allow", "shop.*"],  # For files only.
        ["export", uri],
        ["backup", uri, "file:backup.log"],
        ["restore", "file:backup.log", "file:restored.log"],
        ["snapshot", uri, "file:snapshot.log"],
        ["repair", uri, "file:mended.log"],
        ["copy", uri, "file:copy.log"],
        ["follow", uri, "file:replica.log", "--once"],
        ["pack", uri],
    ):
        assert cli.run(command) == 0, (command, capsys.readouterr())
    told = capsys.readouterr().out
    assert f"file          {path}" in told
    for name in ("backup", "restored", "snapshot", "mended", "copy", "replica"):
        assert path.with_name(f"{name}.log").exists(), name
    for command in ("info", "check", "backup"):
        assert cli.run([command, "file:none.log", *["to.log"] * (command == "backup")]) == 2
        assert "none.log' does not exist" in capsys.readouterr().err
    assert not list(path.parent.glob("*:*"))


def test_a_database_in_memory_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["info", "memory:"]) == 0
    assert "transactions  0" in capsys.readouterr().out
    assert cli.run(["ask", "memory:"]) == 2
    assert "the database is empty" in capsys.readouterr().err
    assert cli.run(["pack", "memory:"]) == 2
    assert "has no file" in capsys.readouterr().err


def test_a_name_with_a_colon_is_that_of_a_file_where_nothing_else_can_be(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    with Database("shop:1.log") as database, database.transaction():
        database.set_root(PersistentDict(n=1))
    assert cli.run(["backup", "./shop:1.log", "shop:2.log"]) == 0
    assert path.with_name("shop:2.log").exists()
    assert cli.run(["info", "shop:1.log"]) == 2
    assert "or a path (./shop:1.log)" in capsys.readouterr().err
    assert cli.run(["info", "./shop:1.log"]) == 0


def test_what_is_wrong_in_a_uri_is_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show", "pack"):
        assert cli.run([command, f"file://{path}?sync=perhaps"]) == 2
        assert "sync=perhaps, expected yes or no" in capsys.readouterr().err


@pytest.mark.parametrize("year", [1960, 1970, 2100, 9999, 12000])
def test_a_log_of_a_wrong_clock_is_made_and_shown(tmp_path, capsys, monkeypatch, year):
    path = tmp_path / "wrong.log"
    seconds = int((year - 1970) * 365.2425 * 86_400)
    monkeypatch.setattr(time, "time_ns", lambda: seconds * 10**9)
    with Database(path) as database:
        database.set_root(PersistentDict(n=1))
        transaction.commit()
    monkeypatch.undo()

    for command in ("log", "info"):
        code, shown, _ = run(capsys, command, str(path))
        assert code == 0
        assert shown
