"""The subcommands: answers, errors as one line, exit codes. ``demo`` is in test_demo."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import transaction

from dobbin_like import __version__, cli
from dobbin_like.__main__ import main
from dobbin_like.database import Database
from dobbin_like.demo.parse import ModuleFacts, parse
from dobbin_like.demo.store import prepare, store
from dobbin_like.exc import ConflictError
from dobbin_like.persistent import PersistentDict, PersistentList, checkout
from dobbin_like.storage import TransactionLog

ROOT = Path(__file__).resolve().parent.parent

COMMANDS = ["ask", "check", "demo", "info", "log"]


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
        fail(path, database)
    return str(path)


def commit(user: str, description: str) -> None:
    current = transaction.get()
    current.user = user
    current.note(description)
    transaction.commit()


def fail(path: Path, database: Database) -> None:
    """Record a failed transaction: *database* is changed while another changes it."""
    checkout(database.root)
    database.root["mine"] = 1
    other = transaction.TransactionManager()
    with Database(TransactionLog(path, sync=False), transaction_manager=other) as another:
        checkout(another.root)
        another.root["theirs"] = 1
        other.commit()
    with pytest.raises(ConflictError):
        commit("cid", "too late")
    transaction.abort()


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.run(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def python(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *args]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


# -- what there is ----------------------------------------------------------------


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")

    assert code == 0
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert sorted(cli.dobbin.commands) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, name, "--help")

    assert code == 0
    assert out.startswith(f"Usage: dobbin {name} ")
    assert "--source" not in out


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


@pytest.mark.parametrize("name", ["ask", "demo", "info", "log"])
def test_a_file_that_is_no_log_is_one_line(
    capsys: pytest.CaptureFixture[str], path: Path, name: str
) -> None:
    path.write_text("hello\n")

    code, out, err = run(capsys, name, str(path))

    assert (code, out) == (2, "")
    assert err.startswith(f"dobbin: {path}: not a dobbin_like log")
    assert err.count("\n") == 1
    assert path.read_text() == "hello\n"


@pytest.mark.parametrize("name", ["ask", "demo"])
def test_a_database_of_something_else_is_left_alone(
    capsys: pytest.CaptureFixture[str], history: str, name: str
) -> None:
    before = Path(history).read_bytes()

    code, out, err = run(capsys, name, history)

    assert (code, out) == (2, "")
    assert err.startswith(f"dobbin: {history}: the root of this database is not one of the demo")
    assert Path(history).read_bytes() == before


def test_a_directory_that_is_not_there_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "nowhere" / "x.log"

    code, _, err = run(capsys, "demo", str(path))

    assert code == 2
    assert err == f"dobbin: {path}: No such file or directory\n"


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


def test_log_lists_the_newest_last_and_what_failed(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    code, out, err = run(capsys, "log", history)

    lines = [" ".join(line.split()[3:]) for line in out.splitlines()[1:]]
    assert code == 0
    assert lines[:3] == [
        "ann 1 elected the root",
        "bob 2 list 0",
        "bob 2 list 1",
    ]
    assert lines[4].startswith("cid - FAILED (conflict: PersistentDict oid 0) too late")
    assert len(lines) == 5
    assert err == ""


def test_log_shows_no_more_than_the_limit(
    capsys: pytest.CaptureFixture[str], history: str
) -> None:
    code, out, err = run(capsys, "log", history, "--limit", "1")

    assert code == 0
    assert "too late" in out
    assert "list 1" not in out
    assert err.startswith("4 older transactions are not shown")
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


@pytest.mark.parametrize("name", ["check", "info", "log"])
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

    code, out, err = run(capsys, "log", history)

    assert (code, out) == (1, "")
    assert err.startswith(f"dobbin: {history}:")
    assert err.count("\n") == 1


def test_ask_says_when_there_is_no_such_class(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        library = prepare(database, tmp_path)
        store(library, ModuleFacts("builtins", "", doc="Words to find."), "test")

    code, out, _ = run(capsys, "ask", str(path), "--subclasses-of", "Nothing", "--about", "find")

    assert code == 1
    assert "Modules whose docstrings say 'find': 1" in out
    assert "No class is called 'Nothing'." in out


def test_ask_shows_the_first_of_many_subclasses(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        library = prepare(database, tmp_path)
        store(library, parse(tmp_path, "builtins", "", library.files), "test")

    code, out, _ = run(capsys, "ask", str(path), "--subclasses-of", "BaseException")

    assert code == 0
    assert "      builtins.BrokenPipeError" in out
    assert "more" in out.splitlines()[-2]


def test_ask_says_that_a_demo_has_not_ended(
    capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path
) -> None:
    with Database(TransactionLog(path, sync=False)) as database:
        prepare(database, tmp_path)

    _, out, _ = run(capsys, "ask", str(path))

    assert "0 of 1 files are there" in out


def test_nothing_but_the_demo_writes(capsys: pytest.CaptureFixture[str], history: str) -> None:
    before = Path(history).read_bytes()
    Path(history).chmod(0o444)

    for name in ("check", "info", "log"):
        assert run(capsys, name, history)[0] == 0

    assert Path(history).read_bytes() == before


# -- from outside ----------------------------------------------------------------------


def test_the_package_does_not_import_what_only_the_command_line_needs() -> None:
    code = "import sys, dobbin_like; print(sorted({'click', 'rich'} & sys.modules.keys()))"

    assert python("-c", code).stdout == "[]\n"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_one_line_names_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None\n"
    code += "from dobbin_like.__main__ import main; sys.exit(main())"

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
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert process.stderr.read() == ""
