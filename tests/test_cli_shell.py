"""The subcommand that opens a console, and those that change what is stored."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transaction

from dobbin_like import cli
from dobbin_like.database import Database
from dobbin_like.persistent import PersistentDict, PersistentList, checkout
from tests.helpers import processes
from tests.helpers.terminal import home_of, on_terminal

SHELL = [sys.executable, "-m", "dobbin_like", "shell"]

SHOP = """
from dobbin_like import Persistent

class Cart(Persistent):
    def __init__(self, total):
        self.total = total
"""


@pytest.fixture
def log(path: Path) -> str:
    with Database(path, sync=False) as database:
        database.set_root(PersistentDict(answer=42))
        transaction.commit()
        checkout(database.root)
        database.root["answer"] = 43
        transaction.commit()
    return str(path)


@pytest.fixture
def carts(path: Path, tmp_path: Path) -> str:
    """A log with a cart that was changed once; its class is in a module of the directory."""
    (tmp_path / "shop.py").write_text(SHOP)
    program = f"""if True:
        import transaction
        from dobbin_like import Database, checkout
        from shop import Cart
        with Database({str(path)!r}) as database:
            database.set_root(Cart(1))
            transaction.commit()
            checkout(database.root)
            database.root.total = 2
            transaction.commit()
    """
    python = [sys.executable, "-c", program]
    processes.run(python, check=True, cwd=tmp_path, env=processes.python_path())
    return str(path)


def tids(path: str) -> list[int]:
    with Database(path, read_only=True) as database:
        return [each.tid for each in database.transactions()]


def shell(log: str, *args: str, typed: str, cwd: Path = processes.ROOT) -> tuple[int, str, str]:
    """Run a shell without a terminal."""
    result = processes.run(
        [*SHELL, log, *args],
        input=typed,
        cwd=cwd,
        env=processes.python_path(),
        capture_output=True,
        text=True,
    )
    return result.returncode, result.stdout, result.stderr


# -- without a terminal --------------------------------------------------------------------


def test_a_program_on_stdin_has_the_names_of_the_shell(log: str) -> None:
    typed = "print(db, root['answer'])\ncheckout(root); root['answer'] = 1\ntransaction.commit()"

    assert shell(log, typed=typed) == (0, f"<Database {log!r}: 1 object> 43\n", "")
    with Database(log, read_only=True) as database:
        assert database.root == {"answer": 1}


def test_a_program_that_raises_is_1_and_shows_its_own_lines(log: str) -> None:
    code, out, err = shell(log, typed="print(1)\n1 / 0")

    assert (code, out) == (1, "1\n")
    assert err.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<stdin>", line 2, in <module>',
        "ZeroDivisionError: division by zero",
    ]
    code, _, err = shell(log, typed="1 +")
    assert code == 1
    assert err.endswith("SyntaxError: invalid syntax\n")
    assert shell(log, typed="raise SystemExit(3)")[0] == 1
    code, out, err = shell(log, typed="raise SystemExit('no such account')")
    assert (code, out, err) == (1, "", "no such account\n")
    assert shell(log, typed="exit()")[0] == 0


def test_changes_that_were_not_committed_are_told(log: str) -> None:
    code, _, err = shell(log, typed="checkout(root); root['answer'] = 1")

    assert code == 0
    assert err.startswith(f"dobbin: {log}: closed with changes that were neither committed")
    assert err.count("\n") == 1


def test_other_warnings_are_shown_as_usual(log: str) -> None:
    code, _, err = shell(log, typed="import warnings; warnings.warn('careful')")

    assert code == 0
    assert "UserWarning: careful" in err


@pytest.mark.parametrize("args", [["--readonly"], ["--at", "{first}"]])
def test_what_is_for_reading_refuses_changes(log: str, args: list[str]) -> None:
    before = Path(log).read_bytes()
    args = [arg.format(first=tids(log)[0]) for arg in args]

    code, out, err = shell(log, *args, typed="print(root['answer']); checkout(root)")

    assert (code, out) == (1, "43\n" if args == ["--readonly"] else "42\n")
    assert "ReadOnlyStorageError" in err
    assert Path(log).read_bytes() == before


def test_a_file_is_run_first(log: str, tmp_path: Path) -> None:
    startup = tmp_path / "start.py"
    startup.write_text("answer = root['answer']")

    assert shell(log, "--startup", str(startup), typed="print(answer)") == (0, "43\n", "")
    startup.write_text("1 / 0")
    assert shell(log, "--startup", str(startup), typed="print(answer)")[:2] == (1, "")
    code, _, err = shell(log, "--startup", "nowhere.py", typed="")
    assert code == 2
    assert "'nowhere.py' does not exist" in err


def test_classes_are_loaded_when_they_are_named_or_imported(carts: str, tmp_path: Path) -> None:
    typed = "print(root.total, type(root).__module__)"

    for args, before in (["--allow", "shop.*"], ""), ([], "import shop; "):
        code, out, _ = shell(carts, *args, typed=before + typed, cwd=tmp_path)
        assert (code, out) == (0, "2 shop\n")
    code, out, _ = shell(carts, typed="print(root.total)", cwd=tmp_path)
    assert (code, out) == (0, "2\n")


# -- on a terminal -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_console_completes_and_remembers(log: str, tmp_path: Path) -> None:
    command = [*SHELL, log, "--plain"]
    with on_terminal(command, env=home_of(tmp_path)) as terminal:
        terminal.wait_for("Ctrl-D ends")
        terminal.wait_for(">>> ")
        terminal.type("roo\t['answer'] + 1000\n")
        terminal.wait_for("\n1043")
        terminal.wait_for(">>> ")
        terminal.type("1 / 0\n")
        terminal.wait_for("ZeroDivisionError")
        terminal.wait_for(">>> ")
        terminal.type("exit()\n")
        terminal.rest()
        assert terminal.process.wait() == 0
    with on_terminal(command, env=home_of(tmp_path)) as terminal:
        terminal.wait_for(">>> ")
        terminal.type("\x1b[A\x1b[A\x1b[A\n")  # Three lines up.
        terminal.wait_for("\n1043")
        terminal.wait_for(">>> ")
        terminal.type("\x04")
        terminal.rest()
        assert terminal.process.wait() == 0

    assert (tmp_path / ".dobbin_history").exists()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("IPython") is None, reason="IPython is not there")
def test_the_console_is_ipython_if_that_is_installed(log: str, tmp_path: Path) -> None:
    with on_terminal([*SHELL, log], env=home_of(tmp_path)) as terminal:
        terminal.wait_for("In [")
        terminal.type("root['answer'] + 1000\r")
        terminal.wait_for("1043")
        terminal.type("exit\r")
        terminal.rest()
        assert terminal.process.wait() == 0


# -- undo, migrate, rename-class ----------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.run(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_transaction_is_undone(capsys: pytest.CaptureFixture[str], log: str) -> None:
    last = tids(log)[-1]

    code, out, err = run(capsys, "undo", log, str(last))

    assert (code, err) == (0, "")
    assert out == f"{log}: transaction {last} is undone, by {tids(log)[-1]}\n"
    with Database(log, read_only=True) as database:
        assert database.root == {"answer": 42}
        assert next(iter(database.history(0))).description == f"undo {last}"
    code, out, _ = run(capsys, "undo", log, str(tids(log)[-1]), "--json")
    assert json.loads(out) == {"undone": tids(log)[-2], "tid": tids(log)[-1]}


def test_an_undo_is_not_taken_for_what_another_commits(
    capsys: pytest.CaptureFixture[str], log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = tids(log)[-1]
    run(capsys, "undo", log, str(last))
    with Database(log) as database:
        checkout(database.root)
        database.root["beside"] = PersistentList()
        transaction.commit()
    undo = Database.undo

    def undo_beside_another(self: Database, tid: int) -> object:
        undone = undo(self, tid)
        manager = transaction.TransactionManager()
        with Database(log, transaction_manager=manager) as other:
            checkout(other.root["beside"])
            other.root["beside"].append("theirs")
            manager.commit()
        return undone

    monkeypatch.setattr(Database, "undo", undo_beside_another)

    code, out, _ = run(capsys, "undo", log, str(last), "--json")

    assert (code, json.loads(out)) == (0, {"undone": last, "tid": None})


def test_what_needs_no_undoing_is_told(capsys: pytest.CaptureFixture[str], log: str) -> None:
    last = tids(log)[-1]
    run(capsys, "undo", log, str(last))
    count = len(tids(log))

    code, out, err = run(capsys, "undo", log, str(last))

    assert (code, err) == (0, "")
    assert out == f"{log}: transaction {last} needs no undoing: all is as it was before it\n"
    code, out, _ = run(capsys, "undo", log, str(last), "--json")
    assert json.loads(out) == {"undone": last, "tid": None}
    assert len(tids(log)) == count


def test_what_can_not_be_undone_is_one_line(capsys: pytest.CaptureFixture[str], log: str) -> None:
    before = Path(log).read_bytes()
    first = str(tids(log)[0])

    last = tids(log)[-1]
    for args, text in (
        (["undo", log, "5"], "no transaction 5"),
        (["undo", log, first], "can't be"),
        (["undo", log, "9" * 20], f"no transaction {'9' * 20}: the last one is {last}\n"),
    ):
        code, out, err = run(capsys, *args)
        assert (code, out) == (2, "")
        assert text in err
        assert err.count("\n") == 1
    assert Path(log).read_bytes()[4096:] == before[4096:]


def test_a_class_that_undo_needs_is_named(carts: str, tmp_path: Path) -> None:
    def undo(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dobbin_like", "undo", carts, str(tids(carts)[1]), *args]
        environment: Any = processes.python_path()
        return processes.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    refused = undo()
    assert refused.returncode == 2
    assert refused.stderr == (
        f"dobbin: {carts}: shop.Cart is not loaded: the module shop is not imported; "
        "add --allow 'shop.*'\n"
    )
    (tmp_path / "shop.py").rename(tmp_path / "store.py")
    refused = undo("--allow", "shop.*")
    assert "importing shop raised" in refused.stderr
    assert "correct shop, or call db.rename_class('shop.Cart', new)" in refused.stderr
    (tmp_path / "store.py").rename(tmp_path / "shop.py")
    assert undo("--allow", "shop.*").returncode == 0
    assert shell(carts, typed="print(root.total)")[1] == "1\n"


def test_objects_are_migrated(carts: str, tmp_path: Path) -> None:
    def migrate(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dobbin_like", "migrate", carts, *args]
        environment: Any = processes.python_path()
        return processes.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    (tmp_path / "shop.py").write_text(
        f"{SHOP}\n    _p_version = 1\n\n"
        "    @classmethod\n    def _p_migrate(cls, state, version):\n"
        "        return {'total': state['total'] * 100}\n"
    )
    done = migrate("shop.Cart")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{carts}: 1 object of shop.Cart stored in the newest version\n"
    assert json.loads(migrate("shop.Cart", "--json").stdout) == {
        "class": "shop.Cart",
        "objects": 0,
    }
    assert shell(carts, typed="print(root.total)", cwd=tmp_path)[1] == "200\n"
    for name in ("shop.Nothing", "nowhere.Cart", "Cart"):
        refused = migrate(name)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith(f"dobbin: {name} can't be imported: ")
        assert refused.stderr.count("\n") == 1
    assert "name its module, too, as in 'shop.Cart'" in migrate("Cart").stderr
    for name, text in {
        "datetime.date": "date is not a subclass of Persistent; derive the class from it",
        "os.path": "a module was given, expected a class that derives from Persistent",
    }.items():
        assert migrate(name).stderr == f"dobbin: {text}\n"


def test_a_migration_that_is_stopped_says_that_it_goes_on(
    carts: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Database, "migrate", stopped)
    assert cli.run(["migrate", carts, "dobbin_like.PersistentDict"]) == 130
    told = capsys.readouterr().err
    expected = "what was migrated stays, and the same command goes on"
    assert told == f"dobbin: stopped; {carts}: {expected}\n"
