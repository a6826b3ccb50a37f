"""The command among others: terminals, pipes, colours, and logs that change meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transaction
from rich.cells import cell_len

from dobbin_like import cli
from dobbin_like.database import Database
from dobbin_like.persistent import PersistentDict, PersistentList, checkout
from tests.helpers import processes
from tests.helpers.terminal import ESCAPES, on_terminal

DOBBIN = [sys.executable, "-m", "dobbin_like"]


@pytest.fixture
def log(path: Path) -> str:
    with Database(path, sync=False) as database:
        database.set_root(PersistentList(["[bold]x[/bold]" * 20, "\x1b[31m" * 9, "é漢字" * 30]))
        commit("made " + "and more " * 20)
        for number in range(3):
            add(database, number)
    return str(path)


def add(database: Database[Any], number: int) -> None:
    checkout(database.root)
    database.root.append(number)
    commit(f"number {number}")


def commit(note: str) -> None:
    transaction.get().note(note)
    transaction.commit()


# -- terminals ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", ["log {0}", "show {0}", "history {0} 0", "tree {0}", "find {0} *", "diff {0} 0 now"]
)
def test_lines_fit_the_terminal_and_have_colours(log: str, args: str) -> None:
    with on_terminal([*DOBBIN, *args.format(log).split()]) as terminal:
        lines = terminal.lines()

    assert "\x1b[1m" in terminal.shown or "\x1b[36m" in terminal.shown
    assert "\x1b[31m" not in terminal.shown  # It is in the file, not of the command.
    assert max(map(cell_len, lines)) <= 80
    assert any(line.endswith("...") for line in lines) or args.startswith("tree")


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_turned_off(log: str, env: dict[str, str]) -> None:
    with on_terminal([*DOBBIN, "history", log, "0"], env=env) as terminal:
        assert "made and more" in terminal.rest()

    assert not ESCAPES.search(terminal.shown)


def test_a_file_gets_whole_lines_without_colours(log: str) -> None:
    out = processes.run([*DOBBIN, "log", log], capture_output=True, text=True, cwd=processes.ROOT)

    assert out.returncode == 0
    assert out.stdout.endswith("made " + ("and more " * 20).rstrip() + "\n")
    assert not ESCAPES.search(out.stdout)


@pytest.mark.slow
def test_results_of_a_search_go_where_they_belong_while_its_bar_is_drawn(log: str) -> None:
    with on_terminal([*DOBBIN, "find", log, "*"], stdout=subprocess.PIPE) as terminal:
        assert terminal.process.stdout is not None
        out = terminal.process.stdout.read().decode()
        bar = terminal.rest()

    assert out.startswith("      0  PersistentList")
    assert "searching" in bar
    assert "PersistentList" not in bar


# -- pipes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("args", ["log {0} -n 0", "show {0} --json", "check {0}", "tree {0} -n 0"])
def test_who_has_read_enough_gets_no_error(path: Path, args: str) -> None:
    with Database(path, sync=False) as database:
        database.set_root(PersistentList(PersistentDict() for _ in range(3000)))
        transaction.commit()
        for number in range(1000):
            add(database, number)
    with processes.start(
        [*DOBBIN, *args.format(path).split()],
        cwd=processes.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read()

    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("startup", [False, True])
def test_a_program_whose_results_nobody_reads_ends_silently(
    log: str, tmp_path: Path, startup: bool
) -> None:
    program = "while True:\n    print('a line')\n"
    (tmp_path / "startup.py").write_text(program)
    reader, writer = os.pipe()
    os.close(reader)

    result = processes.run(
        [*DOBBIN, "shell", log, *(["--startup", str(tmp_path / "startup.py")] if startup else [])],
        cwd=processes.ROOT,
        input=b"" if startup else program.encode(),
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)

    assert (result.returncode, result.stderr) == (0, b"")


def test_another_pipe_that_a_program_breaks_is_its_error(log: str) -> None:
    program = b"import os\nr, w = os.pipe()\nos.close(r)\nos.write(w, b'x')\n"
    result = processes.run(
        [*DOBBIN, "shell", log],
        cwd=processes.ROOT,
        input=program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    assert result.returncode == 1
    assert b"BrokenPipeError" in result.stderr


def test_a_help_that_nobody_reads_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)

    result = processes.run(
        [*DOBBIN, "--help"], cwd=processes.ROOT, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)

    assert (result.returncode, result.stderr) == (0, b"")


def test_a_check_that_nobody_reads_says_what_it_has_found(log: str) -> None:
    data = Path(log).read_bytes()
    Path(log).write_bytes(data.replace(b"number 1", b"number 7"))
    reader, writer = os.pipe()
    os.close(reader)

    result = processes.run(
        [*DOBBIN, "check", log], cwd=processes.ROOT, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)

    hint = f"`python -m dobbin_like repair {log} TO` saves what can be read\n"
    assert (result.returncode, result.stderr.decode()) == (1, hint)


@pytest.mark.parametrize(
    "command", ["log", "log --json", "show", "info", "export", "follow --once", "top --once"]
)
def test_a_disk_that_is_full_is_one_line(log: str, tmp_path: Path, command: str) -> None:
    name, *options = command.split()
    files = [log, str(tmp_path / "copy.log")] if name == "follow" else [log]
    with Path("/dev/full").open("w") as full:
        result = processes.run(
            [*DOBBIN, name, *files, *options],
            cwd=processes.ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
        )

    assert result.returncode == 2
    assert result.stderr == b"dobbin: standard output: No space left on device\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict", "ascii:surrogateescape"])
def test_what_an_encoding_does_not_have_is_an_escape(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.log")
    with Database(path) as database:
        database.set_root(PersistentDict(name="\N{SNOWMAN}"))
        transaction.commit()
    env = {**os.environ, "PYTHONIOENCODING": encoding}

    for name in ("show", "info", "check"):
        command = [*DOBBIN, name, path]
        result = processes.run(command, cwd=processes.ROOT, capture_output=True, env=env)
        assert (result.returncode, result.stderr) == (0, b"")
        if name == "show" and not encoding.startswith("utf"):
            assert b"'\\u2603'" in result.stdout


# -- logs that change, and damaged ones ----------------------------------------------------------


def follow(path: str, *args: str) -> subprocess.Popen[str]:
    command = [*DOBBIN, "log", path, "--follow", "--json", *args]
    return processes.start(command, cwd=processes.ROOT, stdout=subprocess.PIPE, text=True)


def described(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["description"])


@pytest.mark.slow
def test_a_log_is_followed_over_a_pack_until_ctrl_c(log: str) -> None:
    with follow(log, "-n", "2") as process, Database(log, sync=False) as database:
        assert [described(process) for _ in range(2)] == ["number 1", "number 2"]
        add(database, 3)
        assert described(process) == "number 3"
        database.pack()
        add(database, 4)
        assert described(process) == "number 4"
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read() == ""

    assert process.returncode == 0


@pytest.mark.slow
def test_who_follows_a_log_ends_when_nobody_reads(log: str) -> None:
    with follow(log) as process:
        assert described(process).startswith("made")
        assert process.stdout is not None
        process.stdout.close()

    assert process.returncode == 0


def test_a_log_that_is_followed_has_no_end(capsys: pytest.CaptureFixture[str], log: str) -> None:
    assert cli.run(["log", log, "--follow", "--until", "1d"]) == 2
    assert capsys.readouterr().err == "dobbin: --follow has no end; leave out --until\n"


def test_of_a_damaged_log_the_rest_is_listed(capsys: pytest.CaptureFixture[str], log: str) -> None:
    data = bytearray(Path(log).read_bytes())
    at = data.index(b"number 1")
    data[at - 40 : at + 8] = bytes(48)
    Path(log).write_bytes(data)

    code = cli.run(["log", log])
    captured = capsys.readouterr()
    assert code == 1
    assert captured.err.startswith(f"dobbin: {log}:")
    assert captured.err.endswith("; this is what can be read\n")
    _, newest, lost, older, first = captured.out.splitlines()
    assert newest.endswith("number 2")
    assert lost.startswith("damaged: ")
    assert older.endswith("number 0")
    assert "made and more" in first

    assert cli.run(["log", log, "--json", "--oldest-first"]) == 1
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.get("description", "?")[:8] for one in shown[:2]] == ["made and", "number 0"]
    assert "damaged" in shown[2]
    tid = shown[1]["tid"]
    assert cli.run(["log", log, "--json", "--since", str(tid)]) == 1
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.get("description") for one in shown] == ["number 2", None]
